"""Ids of chunks: which document, which text of it, and the how-manieth of the same text.

Two documents never share one. Text and ObjectIds keep the plain form `id#hash` that stored chunks
have: most collections and every CSV file have such ids, and numbers in CSV are text. What else
could be taken for one of them (5 for "5") ends in `:hash`, as no plain form does. A chunk whose id
changes is written anew, but not embedded: its vector is found by its text.
"""

import re
from typing import Any

from bson.objectid import ObjectId

from resources.core.keys import key

_CHUNK = re.compile(r"(.*[#:])[0-9a-f]{16}(?:-[0-9]+)?(?:@[^@]*)?", re.DOTALL)
"""With the place of a space behind, where chunks of several spaces are apart."""
_LIKE_AN_OBJECT_ID = re.compile("[0-9a-f]{24}")


def chunk_id(source_id: Any, text_hash: str, number: int) -> str:
    """The id of a chunk.

    Args:
        source_id: Of its document.
        text_hash: SHA-256 of its text.
        number: 1 for the first chunk of this text in the document, 2 for the second.
    """
    repeat = f"-{number}" if number > 1 else ""
    return f"{start(source_id)}{text_hash[:16]}{repeat}"


def start(source_id: Any) -> str:
    """What the ids of all chunks of a document begin with, and of no other's."""
    if isinstance(source_id, ObjectId):
        return f"{source_id}#"
    if isinstance(source_id, str) and not _LIKE_AN_OBJECT_ID.fullmatch(source_id):
        return f"{source_id}#"
    return f"{key(source_id)}:"


def start_of(chunk: Any) -> str | None:
    """What the id of a chunk begins with, as `start` gives it; None of what is none."""
    found = _CHUNK.fullmatch(chunk) if isinstance(chunk, str) else None
    return found and found[1]
