"""A vector index of our own, for a MongoDB deployment without search nodes.

Scores, filters and the rules of a query are those of `$vectorSearch`. Vectors of int8 and packed
bits are held as floats, in which they are exact: the squared distance of bits is the number that
differ. Up to `exact_below` vectors
a query compares with each of them; above, an HNSW graph finds candidates. Either way the
candidates are scored anew from the stored vectors, so one document has one score however it was
found, and equal scores keep the order in which the documents were added.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.core.vectors import Element, Similarity
from resources.search_index.filters import evaluation as filters
from resources.search_index.filters.columns import FilterColumn, Mask
from resources.search_index.local import faiss_index
from resources.search_index.local.faiss_index import Vectors
from resources.search_index.query import Hit, Query, checked_vector
from resources.search_index.scores import meaning

# From benchmarks/local_index.py: one step through the graph takes as long as 16 comparisons with
# vectors by number.
GRAPH_STEP = 16
RESCORE_BATCH = 4096


class LocalIndex:
    """An index that is complete; any number of threads may search it."""

    def __init__(
        self,
        index: Any,
        similarity: Similarity,
        ids: list[Any],
        columns: Sequence[FilterColumn],
        element: Element = "float32",
    ) -> None:
        """Takes over what a builder or a folder of files holds.

        Args:
            index: A FAISS index; its vectors have unit length where the similarity is cosine.
            similarity: As in the definition of a MongoDB index.
            ids: (n,) any BSON values.
            columns: One for each filter path, of n documents.
            element: Of the vectors that were added, and of queries.
        """
        meaning(element, similarity)  # raises where they do not go together
        self.faiss_index = index
        self.similarity: Similarity = similarity
        self.element: Element = element
        self.ids = ids
        self.columns = {column.path: column for column in columns}
        self._stored = faiss_index.vectors(index)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimensions(self) -> int:
        return self.faiss_index.d

    def search(self, vector: ArrayLike, query: Query) -> list[Hit]:
        """Finds the most similar vectors.

        Args:
            vector: Of the index's element type; finite; not all zeros where the similarity is
                cosine.
            query: Its filter is on the paths of `columns`. Where comparing with all costs no more
                than walking the graph for its candidates, that is done instead.

        Returns:
            At most `limit` hits, the best first.

        Raises:
            QueryRefused: what MongoDB would refuse too.
        """
        asked = self._asked(vector)
        passing = None
        if query.filter is not None:
            passing = filters.evaluate(query.filter, self.columns, len(self))
        count = len(self) if passing is None else int(np.count_nonzero(passing))
        if count == 0:
            return []
        if count == len(self):
            passing = None
        # To see that many documents that pass, the graph is searched the wider the fewer pass.
        steps = math.ceil(query.candidates * len(self) / count)
        flat = query.exact or faiss_index.is_flat(self.faiss_index)
        rows = None
        if not flat and count > GRAPH_STEP * steps:
            wanted = min(query.candidates, len(self))
            rows = faiss_index.search_graph(
                self.faiss_index, asked, passing, count=wanted, steps=steps
            )
        if rows is None or len(rows) < min(query.limit, count):
            rows = self._search_all(asked, passing, query.limit)
        return self._best(asked, rows, query.limit)

    def passing(self, filter: Mapping[str, Any]) -> int:  # noqa: A002
        """How many documents pass a filter.

        Raises:
            QueryRefused: As `search`.
        """
        return int(np.count_nonzero(filters.evaluate(filter, self.columns, len(self))))

    def _asked(self, vector: ArrayLike) -> Vectors:
        asked = checked_vector(vector, self.element, self.dimensions, self.similarity)
        asked = as_floats(asked, self.element)
        if self.similarity == "cosine":
            asked = (asked / float(lengths(asked))).astype(np.float32)
        return asked

    def _search_all(self, asked: Vectors, passing: Mask | None, limit: int) -> NDArray[np.int64]:
        """The best of all that pass, and everything within float32's error of the last of them."""
        rows = None if passing is None else np.flatnonzero(passing).astype(np.int64)
        values = faiss_index.nearness(self._stored, asked, rows, self.similarity)
        if limit < len(values):
            last = float(np.partition(values, -limit)[-limit])
            # the error grows with the terms of the sum, not with the sum
            euclidean = self.similarity == "euclidean"
            scale = -last if euclidean else float(lengths(asked)) * self._longest
            kept = np.flatnonzero(values >= last - 1e-5 * scale)
        else:
            kept = np.arange(len(values))
        return kept if rows is None else rows[kept]

    @cached_property
    def _longest(self) -> float:
        if self.similarity == "cosine":
            return 1.0
        return math.sqrt(np.einsum("ij,ij->i", self._stored, self._stored).max())

    def _best(self, asked: Vectors, rows: NDArray[np.int64], limit: int) -> list[Hit]:
        wide = asked.astype(np.float64)
        nearness = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), RESCORE_BATCH):
            part = slice(start, start + RESCORE_BATCH)
            stored = self._stored[rows[part]].astype(np.float64)
            if self.similarity == "euclidean":
                nearness[part] = -np.square(stored - wide).sum(axis=1)
            else:
                nearness[part] = (stored * wide).sum(axis=1)
        # MongoDB's scores are float32; so is what counts as a tie
        nearness = nearness.astype(np.float32)
        order = np.lexsort((rows, -nearness))[:limit]
        return [
            Hit(self.ids[row], self._score(float(near)))
            for row, near in zip(rows[order].tolist(), nearness[order], strict=True)
        ]

    def _score(self, nearness: float) -> float:
        if self.element == "packed_bit":
            return 1 + nearness / self.dimensions
        if self.element == "int8" and self.similarity == "dotProduct":
            return 0.5 + nearness / (self.dimensions * 2**15)
        if self.similarity == "euclidean":
            return 1 / (1 - nearness)  # of the squared distance, whatever MongoDB's docs say
        score = max((1 + nearness) / 2, 0.0)
        return min(score, 1.0) if self.similarity == "cosine" else score


def as_floats(vectors: NDArray[Any], element: Element) -> Vectors:
    """float32 of the same values; of packed bits zeros and ones, one for each dimension."""
    values = np.unpackbits(vectors, axis=-1) if element == "packed_bit" else vectors
    return np.array(values, np.float32, order="C")


def lengths(vectors: Vectors) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)  # squares of small float32 values would vanish
    return np.sqrt((wide * wide).sum(axis=-1))
