"""The resource `rerank`: whether a search's candidates are read again, and by which model."""

import hashlib
import json
from typing import TYPE_CHECKING, Union

from pydantic import Field

from resources.core.config import StrictResource
from resources.rerankers.base import Reranker
from resources.rerankers.facts import Facts
from resources.rerankers.installed import rerankers
from resources.rerankers.meter import Meter
from resources.rerankers.provider import NoReranking, RerankerProvider, Stored

if TYPE_CHECKING:
    AnyProvider = RerankerProvider
else:
    AnyProvider = Union[tuple(rerankers().values())]  # noqa: UP007  (from a tuple)

MAX_CANDIDATES = 1000
"""That Voyage AI takes in one request, and `$rerank` at all."""


class RerankResource(StrictResource):
    """The model that reads a search's candidates together with the query, and sorts them anew."""

    provider: AnyProvider = Field(
        default=NoReranking(),
        discriminator="kind",
        description="Exactly one reranker with its settings; none: the first order stays.",
    )
    candidates: int = Field(
        default=50,
        ge=1,
        le=MAX_CANDIDATES,
        description="How many documents the first search hands over to be read.",
    )

    @property
    def chosen(self) -> bool:
        """Whether anything is reranked."""
        return not isinstance(self.provider, NoReranking)

    def facts(self) -> Facts:
        """What is known of the reranker without opening it."""
        return self.provider.facts()

    def reading(self) -> str:
        """Stands for all that decides which order texts get: the same for the same.

        Raises:
            EmbeddingsError: The model is not there.
        """
        said = json.dumps([self.provider.reading(), self.candidates], sort_keys=True, default=str)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    def open(self, stored: Stored | None = None, meter: Meter | None = None) -> Reranker | None:
        """The reranker; None where nothing is reranked. Whoever opens it closes it.

        Args:
            stored: Where the candidates lie, for a reranker that reads them there.
            meter: Where requests that cost money are counted.

        Raises:
            EmbeddingsError: The settings cannot be used.
        """
        return self.provider.open(stored, meter) if self.chosen else None
