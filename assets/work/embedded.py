"""What the asset `embedding_batches` comes to."""

from dataclasses import dataclass, field

import numpy as np

from assets.work.budget import Estimate, together
from resources.core.chunks import Chunk
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embeddings


@dataclass
class Embedded:
    """What the asset `embedding_batches` comes to.

    Attributes:
        asked: There were texts to embed, or vectors to copy.
        url: Where the batches lie.
        chunks: Of the source that have their vector now, in whichever run it was made; `of_some`
            records alone, where only those were compared.
        refusals: How many texts the provider refused, by its reason.
        preview: Some of the texts, with their vectors and tokens (-1 where those are not known).
    """

    plan: str
    space: EmbeddingSpace
    model: str
    url: str
    asked: bool
    batches: int = 0
    embedded: int = 0
    copied: int = 0
    narrowed: int = 0
    already_there: int = 0
    refused: int = 0
    bytes: int = 0
    estimate: Estimate | None = None
    requests: int = 0
    retries: int = 0
    throttled_seconds: float = 0.0
    tokens: int | None = None
    cost_usd: float | None = None
    truncated: int = 0
    seconds: float = 0.0
    chunks: int = 0
    of_some: bool = False
    refusals: dict[str, int] = field(default_factory=dict)
    preview: list[tuple[Chunk, np.ndarray, int]] = field(default_factory=list)

    def add(self, other: "Embedded") -> None:
        """What was done besides; the chunks are those that they were."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("tokens", "cost_usd"):
            more = getattr(other, name)
            if more is not None:
                setattr(self, name, (getattr(self, name) or 0) + more)
        for reason, texts in other.refusals.items():
            self.refusals[reason] = self.refusals.get(reason, 0) + texts
        self.asked |= other.asked
        self.preview = self.preview or other.preview
        self.estimate = together(self.estimate, other.estimate)

    def count(self, reply: Embeddings) -> None:
        usage = reply.usage
        self.requests += usage.requests
        self.truncated += usage.truncated
        self.retries += usage.retries
        self.throttled_seconds += usage.throttled_seconds
        if usage.tokens is not None:
            self.tokens = (self.tokens or 0) + usage.tokens
        self.refused += len(reply.refused)
        for refusal in reply.refused.values():
            self.refusals[refusal.reason] = self.refusals.get(refusal.reason, 0) + 1


_SUMS = (
    *("batches", "embedded", "copied", "narrowed", "already_there", "refused", "bytes"),
    *("requests", "retries", "throttled_seconds", "truncated", "seconds"),
)
