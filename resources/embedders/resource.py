"""The resource `embedder`: which provider and model embed documents and queries."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Union

from pydantic import Field

from resources.core.config import StrictResource
from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace
from resources.core.variables import unset
from resources.embedders.base import Embedder
from resources.embedders.batch.jobs import Jobs
from resources.embedders.facts import Facts
from resources.embedders.installed import providers
from resources.embedders.journal import Journal
from resources.embedders.provider import Provider
from resources.embedders.quota import QuotaSettings, SharedQuota
from resources.embedders.sentence_transformers import SentenceTransformersProvider

if TYPE_CHECKING:
    AnyProvider = Provider
else:
    AnyProvider = Union[tuple(providers().values())]  # noqa: UP007  (from a tuple)


class EmbedderResource(StrictResource):
    """The model that turns texts into vectors, and how many at once."""

    provider: AnyProvider = Field(
        default=SentenceTransformersProvider(),
        discriminator="kind",
        description="Exactly one provider with its settings.",
    )
    max_batch_chunks: int = Field(
        default=1000,
        ge=1,
        description="Chunks per embedding batch: what is written down together, and what a "
        "killed run repeats at most.",
    )
    max_batch_tokens: int = Field(
        default=200_000, ge=1, description="Estimated tokens per embedding batch."
    )
    quota: QuotaSettings | None = Field(
        default=None,
        description="Limits that this pipeline keeps together with all others of the same "
        "`mongodb: registry` that name them, on whatever machine.",
    )
    max_cost_usd: float | None = Field(
        default=None, ge=0, description="Stop before a run spends more than this, at list price."
    )
    max_tokens: int | None = Field(
        default=None, ge=0, description="Stop before a run embeds more tokens than this."
    )

    queue: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_-]*$",
        description="Queue of the Celery workers that embed, such as those with a GPU, or with the "
        "key of the provider; read when definitions load, with `EMBEDDINGS_EXECUTOR=celery`. "
        "Default: that of all other steps, `dagster`.",
    )

    def space(self) -> EmbeddingSpace:
        """The space that documents are embedded in; loads no model where its files say enough."""
        return self.provider.space()

    def facts(self) -> Facts:
        """What is known of the provider without opening it."""
        return self.provider.facts()

    def query_settings(self) -> str:
        """Stands for all that decides, besides the space, which vector a query gets."""
        said = json.dumps(self.provider.query_settings(), sort_keys=True, default=str)
        return hashlib.sha256(said.encode()).hexdigest()[:12]

    @property
    def truncates(self) -> bool:
        """Whether a vector of only the beginning of a text is as good as one of the whole."""
        return self.provider.truncates

    @contextmanager
    def open(
        self,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
        quota: SharedQuota | None = None,
    ) -> Iterator[Embedder]:
        """The provider, ready to embed.

        Args:
            jobs: Where batch jobs are written down, for a provider that has any.
            log: Where their progress is told, and what changes for all requests.
            journal: Where a remote provider's requests are written down before they are sent.
            quota: The one of the settings; who only asks now and then takes no part in it.
        """
        for name in unset(self.provider):
            raise ConfigurationError(
                f"the space {self.space().id} is embedded with {name}, which is not set: set that "
                "environment variable where this runs"
            )
        embedder = self.provider.open(jobs, log, journal)
        try:
            if quota is not None:
                embedder.share(quota, self.quota and self.quota.most_tokens)
            yield embedder
        finally:
            embedder.close()
