"""What a source yields: documents to embed, and records that cannot be, each with its reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """One record of the source.

    Attributes:
        id: The record's identity as the source has it: any BSON value (str, int, ObjectId, …).
        text: The exact text to embed, never empty.
        fields: Fields carried along, for filtering and display.
    """

    id: Any
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RenderedDocument(SourceDocument):
    """A record whose text is made in several ways.

    Attributes:
        texts: One for each way; None where it makes none of this record. `text` is the first.
    """

    texts: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that cannot be embedded.

    Attributes:
        id: The record's id, or None where it has none.
        where: The place a person would look at: `films.jsonl:17`, `sample_airbnb.listings`.
        reason: A short sentence: what is wrong.
        excerpt: The beginning of what was found, at most EXCERPT_LENGTH characters.
        text_hash: Of the text that a provider refused; empty where the source is at fault.
        lasting: It stays so until the record or the settings change; else later runs ask again.
        hides: Other records may be in it, which could not be told apart.
        slot: Of its document, which tells its shard: see `shards.slot_of`.
    """

    id: Any
    where: str
    reason: str
    excerpt: str = ""
    text_hash: str = ""
    lasting: bool = True
    hides: bool = False
    slot: int | None = None


EXCERPT_LENGTH = 200
