"""Chunks: the pieces of source documents that are embedded, and their identity as text."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bson

from resources.core.footprint import footprint
from resources.core.keys import WRITTEN


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a source document small enough to embed.

    Attributes:
        id: `_id` of the chunk in the vector store; without chunking the source document's own.
        source_id: The source document's id.
        text: The exact text to embed.
        text_hash: SHA-256 of the text in UTF-8, hex.
        fields: What is carried along.
        fields_hash: Changes when any carried value changes.
    """

    id: Any
    source_id: Any
    text: str
    text_hash: str
    fields: Mapping[str, Any]
    fields_hash: str

    @classmethod
    def whole(cls, id: Any, text: str, fields: Mapping[str, Any]) -> "Chunk":  # noqa: A002
        """A source document that is one chunk."""
        return cls(id, id, text, hash_text(text), fields, hash_fields(fields))


_OVERHEAD = 300
"""Of a chunk beside its id, text and fields: the object, and its hashes."""


def size_of(chunk: Chunk) -> int:
    """Bytes that a chunk takes in memory, roughly."""
    return _OVERHEAD + footprint(chunk.id) + footprint(chunk.text) + footprint(chunk.fields)


MAX_BYTES = 16 * 1024**2 - 512 * 1024
"""Of a chunk's text and fields: a document of MongoDB holds 16 MiB, vector and lineage included."""


def excess(chunk: Chunk) -> int:
    """Bytes of text and fields where they are too many for a document; 0 where they are not."""
    # At most four bytes a character: only what comes near the limit is measured.
    if 4 * len(chunk.text) + sum(map(_at_most, chunk.fields.values())) <= MAX_BYTES:
        return 0
    size = len(bson.encode({**chunk.fields, "": chunk.text}, codec_options=WRITTEN))
    return size if size > MAX_BYTES else 0


def _at_most(value: Any) -> int:
    if isinstance(value, str):
        return 4 * len(value)
    if isinstance(value, list | dict | bytes):
        return len(bson.encode({"": value}, codec_options=WRITTEN))
    return 32


def hash_text(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hash_fields(fields: Mapping[str, Any]) -> str:
    """Sixteen hex digits over the carried values as BSON; empty where nothing is carried."""
    if not fields:
        return ""
    ordered = {name: fields[name] for name in sorted(fields)}
    return hashlib.sha256(bson.encode(ordered, codec_options=WRITTEN)).hexdigest()[:16]
