"""Whose a document is: only what we inserted is ever deleted, and nobody's is overwritten.

A document that a pipeline inserts says so in a field of its own, which stays when its vectors go.
Everything that a pipeline writes at a path has its lineage beside it, which names the pipeline.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resources.core.chunks import Chunk
from resources.core.footprint import footprint
from resources.core.keys import key
from resources.sources.fields import MISSING, lookup

INSERTED_FIELD = "embedding_inserted_by"
"""Of a document that we inserted: the pipeline that did. Nothing without it is ever deleted."""

LINEAGE_SUFFIX = "_lineage"

KEPT_BYTES = 8 * 1024
"""Of a document that is there: as many as are looked at by one command take 16 MiB together."""


@dataclass(frozen=True, slots=True)
class Occupant:
    """A document that is there already, in a collection of vectors, with nothing at our path.

    Attributes:
        pipelines: Whose vectors it holds at other paths; empty where it holds none.
        inserted: A pipeline made it.
        fields: All of it, to compare with what would be written; of what is large a digest, since
            many documents are looked at before the first is written.
    """

    pipelines: frozenset[str]
    inserted: bool
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Occupant":
        names = frozenset(str(found.get("pipeline")) for found in lineages(document))
        inserted = INSERTED_FIELD in document
        if not inserted and not names:
            return cls(names, inserted, {})  # left as it is, whatever it holds
        if footprint(document) > KEPT_BYTES:
            document = {name: _shortened(value) for name, value in document.items()}
        return cls(names, inserted, document)


@dataclass(frozen=True, slots=True)
class _Digest:
    """Equal for values that are the same to MongoDB."""

    sha256: bytes

    @classmethod
    def of(cls, value: Any) -> "_Digest":
        return cls(hashlib.sha256(key(value).encode("utf-8", "surrogatepass")).digest())


def _shortened(value: Any) -> Any:
    return _Digest.of(value) if footprint(value) > KEPT_BYTES // 16 else value


def _same(theirs: Any, value: Any) -> bool:
    if isinstance(theirs, _Digest):
        return theirs == _Digest.of(value)
    return key(theirs) == key(value)


def lineages(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The lineage of every vector in a document, at whatever path."""
    for name, value in document.items():
        if name.split(".")[0].endswith(LINEAGE_SUFFIX):
            yield from _within(value)


def _within(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        if isinstance(value.get("space"), str) and isinstance(value.get("batch"), str):
            yield value
        else:
            for inner in value.values():
                yield from _within(inner)


def why_not_shared(chunk: Chunk, there: Occupant, *, pipeline: str, text_field: str) -> str:
    """Why a chunk's vector may not be put into a document that is there; empty where it may.

    Another path of a document that a pipeline made is open to others as long as they agree on all
    that they share.
    """
    if not there.inserted and not there.pipelines:
        return (
            "a document with this _id was there before, and was not made by an embedding pipeline: "
            "it is left as it is; give the vectors a collection of their own"
        )
    others = sorted(there.pipelines - {pipeline})
    if not others:
        return ""  # our own, at an earlier path, or left over by one that took its vector away
    if not _same(there.fields.get(text_field), chunk.text):
        return (
            f"the document with this _id holds another text of the pipeline {others[0]}: it is "
            "left as it is; give the vectors a collection of their own"
        )
    for name, value in chunk.fields.items():
        theirs = lookup(there.fields, name)
        if theirs is not MISSING and not _same(theirs, value):
            return (
                f"the document with this _id is of the pipeline {others[0]} and holds another "
                f"{name!r}: it is left as it is; give the vectors a collection of their own"
            )
    return ""


def why_not_ours(owner: str, space_id: str | None) -> str:
    """For a vector at our path that another pipeline made."""
    return (
        f"the pipeline {owner} has its vector in this document (space {space_id or 'unknown'}): "
        "it is left as it is; take the record out of one of the two sources, or choose another "
        "`path` or collection in `vector_store`"
    )


def only_lineage(path: str) -> dict[str, Any]:
    """Finds documents in which no lineage is left but that at a path; to go with `_id`."""
    suffix = {"$regexMatch": {"input": "$$field.k", "regex": f"{LINEAGE_SUFFIX}$"}}
    roots = {"$filter": {"input": {"$objectToArray": "$$ROOT"}, "as": "field", "cond": suffix}}
    sizes = [{"$eq": [{"$size": roots}, 1]}]
    parents = path.split(".")[:-1]
    for depth in range(len(parents)):
        inside = {"$objectToArray": "$" + ".".join(parents[: depth + 1])}
        sizes.append({"$eq": [{"$size": inside}, 1]})
    return {"$expr": {"$and": sizes}}


def nothing_but(paths: Sequence[str]) -> dict[str, Any]:
    """Finds documents that hold nothing but these paths, in whole or in part."""
    return {"$expr": {"$and": list(_subsets("$$ROOT", [path.split(".") for path in paths]))}}


def _subsets(value: str, paths: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    names = list(dict.fromkeys(path[0] for path in paths))
    # What is no document, or missing, has no fields of its own that could be somebody else's.
    held = {"$cond": [{"$eq": [{"$type": value}, "object"]}, value, {}]}
    keys = {"$map": {"input": {"$objectToArray": held}, "as": "field", "in": "$$field.k"}}
    yield {"$setIsSubset": [keys, names]}
    for name in names:
        inner = [path[1:] for path in paths if path[0] == name]
        if all(inner):
            yield from _subsets(f"${name}" if value == "$$ROOT" else f"{value}.{name}", inner)
