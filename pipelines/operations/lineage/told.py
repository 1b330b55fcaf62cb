"""What can be told of a vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from resources.core.space import EmbeddingSpace
from resources.registry.pipeline_spaces import State

Known = State | Literal["unknown"]
"""What a space is to its pipeline; of a pipeline that no record tells of it is not known."""


@dataclass(frozen=True)
class InSpace:
    """A space that a document has a vector in.

    Attributes:
        pipeline: Whose vector it is.
        path: Where it lies in the document.
        same_text: It is of the same text as the one that is asked for.
    """

    space: str
    pipeline: str
    path: str
    state: Known
    model: str
    run: str
    at: datetime | None
    same_text: bool


@dataclass(frozen=True)
class Share:
    """What one vector took of its batch's bill.

    Attributes:
        tokens: Of its text; None where the provider does not count them one by one.
        batch_tokens: That were billed for what its run has embedded of the batch.
        cost_usd: Its part of the cost at list price; None where no price is known.
        by: What the part goes by: its tokens, or one of so many texts.
    """

    tokens: int | None
    batch_tokens: int | None
    cost_usd: float | None
    by: Literal["tokens", "texts"]


@dataclass(frozen=True)
class SourceNow:
    """What the source says of a vector's text now.

    Attributes:
        state: `same`: the text still comes out of the source; `changed`: another one does, or of a
            chunk's document others; `gone`: there is no such record; `refused`: it cannot be
            embedded any more; `unknown`: it cannot be told, or was not asked.
        why: As a sentence; empty where the state says it all.
    """

    state: Literal["same", "changed", "gone", "refused", "unknown"]
    why: str = ""


@dataclass(frozen=True)
class VectorLineage:
    """Everything known about how one vector came to be.

    Attributes:
        id: `_id` of the document.
        source_id: Of the source's record that it was made of.
        path: Where the vector lies.
        state: Of its space.
        lineage: As stored with the vector.
        meaning: What its space id stands for; None if the registry has lost it.
        details: Of its batch: provider versions, tokens; None where the file is gone.
        excerpt: The beginning of the text as it is stored; None where there is none any more.
        place: Of a chunk in its document: `{index, start, end}`.
        batch_file: Where its batch lies.
        run_url: Of its run in the Dagster UI.
        share: Of the cost; None where nothing was written down.
        spaces: Every space that the document has a vector in, this one among them.
        source: Whether the text has changed since.
    """

    id: Any
    lineage: Mapping[str, Any]
    meaning: EmbeddingSpace | None
    details: Mapping[str, Any] | None
    source_id: Any = None
    path: str = ""
    state: Known = "unknown"
    excerpt: str | None = None
    place: Mapping[str, Any] | None = None
    batch_file: str = ""
    run_url: str = ""
    share: Share | None = None
    spaces: Sequence[InSpace] = ()
    source: SourceNow = SourceNow("unknown")
