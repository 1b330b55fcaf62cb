"""What makes a provider: settings, and how an embedder is opened from them.

A package of somebody else's adds one by an entry point, see `resources.models.kinds`:

    class AcmeProvider(Provider):
        kind: Literal["acme"] = "acme"

Its module is imported whenever definitions are loaded: what is heavy, it imports in `open`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from resources.core.config import StrictConfig
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder
from resources.embedders.batch.jobs import Jobs
from resources.embedders.facts import Facts
from resources.embedders.journal import Journal


class Provider(StrictConfig, ABC):
    """Settings of every provider; it has a field `kind`, a `Literal` with that as its default."""

    space_name: str | None = Field(
        default=None,
        alias="space",
        min_length=1,
        description="Name of the space, where another model or server makes the same vectors: "
        "the model that they are known by (a gateway that renames text-embedding-3-small says "
        "`space: text-embedding-3-small`).",
    )

    @abstractmethod
    def space(self) -> EmbeddingSpace:
        """The space that documents are embedded in; loads no model where its files say enough.

        Raises:
            ConfigurationError: The settings name none.
        """

    @abstractmethod
    def facts(self) -> Facts:
        """What is known without a connection; loads no model beyond what `space` does."""

    def query_settings(self) -> Sequence[Any]:
        """What decides, besides the space, which vector a text gets as a query; as JSON knows it.

        Settings named after queries or prompts are in it; whoever has others adds them.
        """
        facts = self.facts()
        names = [name for name in type(self).model_fields if "query" in name or "prompt" in name]
        return [facts.model, facts.refusal_scope, {name: getattr(self, name) for name in names}]

    @abstractmethod
    def open(
        self,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> Embedder:
        """Ready to embed; whoever opens it closes it.

        Args:
            jobs: Where batch jobs are written down, for a provider that has any.
            log: Where their progress is told, and what changes for all requests.
            journal: Where remote requests are written down before they are sent.
        """

    def check(self) -> str:
        """Look whether a run could embed, as far as that costs nothing; what was found.

        Raises:
            EmbeddingsError: It could not.
        """
        space = self.space()
        return f"{space.provider} {self.facts().model}, {space.dimensions} dimensions"

    def confirm(self) -> str:
        """Ask whoever gives out the model whether it is there, the cheapest way that tells.

        Returns:
            What was said, with what asking cost; empty where nobody can be asked.

        Raises:
            EmbeddingsError: It is not there, the key is refused, nobody answers.
        """
        return ""

    @property
    def truncates(self) -> bool:
        """Whether a text that is too long is cut, and not refused."""
        return False
