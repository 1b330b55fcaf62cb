"""Rows of a local index that never change: what is added later goes into another segment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.core.vectors import Element
from resources.search_index.filters.columns import FilterColumn
from resources.search_index.local import faiss_index
from resources.search_index.local.faiss_index import Vectors
from resources.search_index.local.signatures import Signatures
from resources.search_index.local.text.postings import TextSegment


@dataclass(frozen=True, eq=False)
class Segment:
    """Documents with their vectors, by row; which of them are deleted is a version's affair.

    Attributes:
        ids: (rows,) any BSON values.
        columns: By filter path, one value set a row.
        signatures: (rows, 2) of what each row was made of; see `signatures`.
        faiss_index: The vectors; of unit length where the similarity is cosine.
        text: Of the same rows; None where the index holds vectors only.
        folder: Where it is saved, a path or URL; empty before it is.
        files: Names of the files there, with what is known of each.
    """

    ids: Sequence[Any]
    columns: Mapping[str, FilterColumn]
    signatures: Signatures
    faiss_index: Any
    text: TextSegment | None = None
    folder: str = ""
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def name(self) -> str:
        return self.folder.rsplit("/", 1)[-1]

    @cached_property
    def vectors(self) -> Vectors:
        """(rows, dimensions) a view: only while the segment lives."""
        return faiss_index.vectors(self.faiss_index)

    @cached_property
    def has_graph(self) -> bool:
        return not faiss_index.is_flat(self.faiss_index)


def as_floats(vectors: NDArray[Any], element: Element) -> Vectors:
    """float32 of the same values; of packed bits zeros and ones, one for each dimension."""
    values = np.unpackbits(vectors, axis=-1) if element == "packed_bit" else vectors
    return np.array(values, np.float32, order="C")


def lengths(vectors: Vectors) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)  # squares of small float32 values would vanish
    return np.sqrt((wide * wide).sum(axis=-1))
