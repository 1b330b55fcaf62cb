"""Stored vectors as they are, sound or not, for an audit."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.core.space import EmbeddingSpace
from resources.core.vectors import Dtype, dtype_of
from resources.vector_store import layout as layouts
from resources.vector_store.conditions import of_width
from resources.vector_store.store import VectorStore, at_path, names_of, readable


@dataclass(frozen=True, slots=True)
class Examined:
    """A stored vector as it is, sound or not.

    Attributes:
        dtype: Of what stands at the vector's path; None where that is no vector.
        vector: None where it cannot be read.
        fine: At the path of the finer one; None where there is none that can be read.
        cut: As in `StoredState`.
        readable: The framework that the document is laid out for finds what it needs there.
    """

    id: Any
    text_hash: str
    batch: str | None
    dtype: Dtype | None
    vector: np.ndarray | None
    fine: np.ndarray | None
    cut: bool = False
    readable: bool = True


def misshapen(store: VectorStore, space: EmbeddingSpace) -> Iterator[Examined]:
    """The pipeline's vectors that are not of the type and width that their lineage says, or whose
    document the framework that it is laid out for cannot read.
    """
    wrong: list[dict[str, Any]] = [
        {store.path: {"$not": of_width(store.dtype, space.dimensions)}},
        *({path: {"$not": {"$type": "string"}}} for path in layouts.needed(store.layout)),
    ]
    yield from _examined(store, {f"{store.lineage_path}.space": space.id, "$or": wrong})


def examined(store: VectorStore, space_id: str, text_hashes: Sequence[str]) -> Iterator[Examined]:
    """The pipeline's vectors of some texts, whatever state they are in."""
    lineage, texts = store.lineage_path, {"$in": list(text_hashes)}
    yield from _examined(store, {f"{lineage}.space": space_id, f"{lineage}.text_hash": texts})


def _examined(store: VectorStore, wanted: Mapping[str, Any]) -> Iterator[Examined]:
    # Those in another format are the planner's business.
    stored_as = {f"{store.lineage_path}.stored_as": {"$in": names_of(store.format)}}
    needed = layouts.needed(store.layout)
    fields = dict.fromkeys([store.path, store.rescore_path, store.lineage_path, *needed], 1)
    for document in store.collection.find({**wanted, **stored_as, **store.mine}, fields):
        found, value = at_path(document, store.lineage_path), at_path(document, store.path)
        vector, fine = readable(value), readable(at_path(document, store.rescore_path))
        dtype = None if vector is None else dtype_of(value)
        # Already distrusted ones have no hash.
        text_hash, batch = found.get("text_hash", ""), found.get("batch")
        cut = bool(found.get("cut"))
        found_all = all(isinstance(at_path(document, path), str) for path in needed)
        yield Examined(document["_id"], text_hash, batch, dtype, vector, fine, cut, found_all)
