"""Some of the stored vectors: the same ones whenever the same is stored, however many there are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.core.keys import key
from resources.core.vectors import as_floats
from resources.sources.fields import without_nested
from resources.vector_store.store import SOURCE_FIELD, VectorStore, at_path, readable

TEXT = 2_000
"""Characters of a text that are kept: a document may be of megabytes."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One of them.

    Attributes:
        id: Of the document.
        source: Of the source document.
        vector: float32, shape (columns,); of packed bits -1 and 1.
        text: Its beginning.
        value: Of the field that was asked for.
    """

    id: Any
    source: Any
    vector: np.ndarray
    text: str
    value: Any = None


def draw(
    store: VectorStore, space_id: str, count: int, field: str | None = None
) -> Iterator[Drawn]:
    """Those whose text's hash comes first: as good as by lot, and an index leads to them.

    Args:
        store: Where they are.
        space_id: Id of the space.
        count: At most so many.
        field: Dotted path in the source's terms.
    """
    space, text_hash = f"{store.lineage_path}.space", f"{store.lineage_path}.text_hash"
    place = store.place(field) if field else None
    fields = [*store.text_shape.fields, *([place] if place else [])]
    wanted = without_nested([store.path, text_hash, SOURCE_FIELD, *fields])
    cursor = store.collection.find({**store.mine, space: space_id}, dict.fromkeys(wanted, 1))
    with cursor.sort([(space, 1), (text_hash, 1)]).limit(count) as rows:
        for document in rows:
            vector = _values(store, document)
            if vector is None:
                continue
            source = (
                document["_id"] if store.in_place else document.get(SOURCE_FIELD, document["_id"])
            )
            text = (store.text(document) or "")[:TEXT]
            value = at_path(document, place) if place else None
            yield Drawn(document["_id"], source, vector, text, value)


def nearest(
    store: VectorStore, space_id: str, asked: dict[str, tuple[np.ndarray, list[Any]]]
) -> dict[str, tuple[float, Any]]:
    """How near each of some vectors has one of its own source documents: cosine and source.

    Args:
        store: Where they are.
        space_id: Id of the space.
        asked: By any name: a vector of values of the indexed field, shape (columns,), and the ids
            of source documents.
    """
    by: dict[str, list[str]] = {}
    ids: dict[str, Any] = {}
    for name, (_, sources) in asked.items():
        for each in sources:
            by.setdefault(key(each), []).append(name)
            ids.setdefault(key(each), each)
    place = SOURCE_FIELD if store.chunker else "_id"
    space = f"{store.lineage_path}.space"
    projection = dict.fromkeys([place, store.path, space], 1)
    best: dict[str, tuple[float, Any]] = {}
    with store.collection.find({place: {"$in": list(ids.values())}}, projection) as rows:
        for document in rows:
            vector = _values(store, document)
            if vector is None or at_path(document, space) != space_id:
                continue
            for name in by.get(key(document[place]), ()):
                found = _cosine(vector, asked[name][0]), document[place]
                if name not in best or found[0] > best[name][0]:
                    best[name] = found
    return best


def asked_as(store: VectorStore, vector: np.ndarray) -> np.ndarray:
    """A query's vector, as its provider returned it, as the values that it is compared with."""
    if store.element == "packed_bit" and store.format.element != "packed_bit":
        return np.where(vector > 0, 1, -1).astype(np.float32)
    return as_floats(vector, store.element)


def _values(store: VectorStore, document: Mapping[str, Any]) -> np.ndarray | None:
    """Of the indexed field."""
    vector = readable(at_path(document, store.path))
    return None if vector is None else as_floats(vector, store.element)


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    if one.shape != other.shape:
        return -1.0
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths else -1.0
