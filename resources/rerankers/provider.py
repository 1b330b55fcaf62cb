"""What makes a kind of reranker: settings, and how a reranker is opened from them.

A package of somebody else's adds one by an entry point, see `resources.models.kinds`:

    class AcmeReranking(RerankerProvider):
        kind: Literal["acme"] = "acme"

Its module is imported whenever definitions are loaded: what is heavy, it imports in `open`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pymongo.collection import Collection

from resources.core.config import StrictConfig
from resources.core.errors import ConfigurationError
from resources.rerankers.base import Reranker
from resources.rerankers.facts import Facts
from resources.rerankers.meter import Meter
from resources.sources.text import TextField, TextTemplate


@dataclass(frozen=True)
class Stored:
    """Where the candidates lie, for a reranker that reads them there.

    Attributes:
        collection: Of the vectors.
        text: Where its documents have the text that was embedded.
    """

    collection: Collection
    text: TextField | TextTemplate


class RerankerProvider(StrictConfig, ABC):
    """Settings of every reranker; it has a field `kind`, a `Literal` with that as its default."""

    @abstractmethod
    def facts(self) -> Facts:
        """What is known without a connection; loads no model."""

    @abstractmethod
    def open(self, stored: Stored | None = None, meter: Meter | None = None) -> Reranker:
        """Ready to read candidates; whoever opens it closes it.

        Args:
            stored: Where the candidates lie, where they lie anywhere.
            meter: Where requests that cost money are counted.

        Raises:
            EmbeddingsError: The settings cannot be used.
        """

    def reading(self) -> Mapping[str, Any]:
        """What may decide the order that texts get, as JSON knows it; no secret is in it."""
        return self.model_dump(exclude={"api_key"})

    def check(self) -> str:
        """Look whether a search could use it, as far as that costs nothing; what was found.

        Raises:
            EmbeddingsError: It could not.
        """
        return str(self.facts())


class NoReranking(RerankerProvider):
    """The order of the first search is the answer's."""

    kind: Literal["none"] = "none"

    def facts(self) -> Facts:
        return Facts("none", "", 0.0)

    def open(self, stored: Stored | None = None, meter: Meter | None = None) -> Reranker:
        raise ConfigurationError(
            "nothing is chosen to rerank with: give `rerank` a provider, such as "
            "`-c rerank/voyage.yaml`"
        )
