"""What providers share that embed documents as batch jobs as well, for less."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, ClassVar, Literal, TypeVar

from pydantic import Field

from resources.core.errors import ConfigurationError
from resources.embedders.base import Embeddings
from resources.embedders.batch.jobs import BatchAPI, Jobs
from resources.embedders.batch.lane import BatchLane
from resources.embedders.journal import Journal
from resources.embedders.remote import RemoteEmbedder
from resources.embedders.settings import RemoteProvider

K = TypeVar("K")


class BatchedProvider(RemoteProvider, ABC):
    """Settings of a remote provider that has a batch lane."""

    batch_price_factor: ClassVar[float]

    mode: Literal["realtime", "batch"] = Field(
        default="realtime",
        description="batch: documents as batch jobs, later and for less; queries never are.",
    )
    poll_seconds: float = Field(default=60, gt=0, description="How often batch jobs are asked for.")
    wait_seconds: float = Field(
        default=86_400,
        ge=0,
        description="How long a run waits for batch jobs; any later run collects what is left.",
    )

    @property
    def price_factor(self) -> float:
        return self.batch_price_factor if self.mode == "batch" else 1.0

    @abstractmethod
    def batch_api(self) -> BatchAPI:
        """Connected when it is first asked."""


class BatchedEmbedder(RemoteEmbedder, ABC):
    """Queries one by one, documents too or as batch jobs.

    Args:
        settings: Of the provider.
        jobs: Where batch jobs are written down; `mode: batch` embeds no documents without.
        log: Where their progress is told, and what changes for all requests.
        journal: Where requests are written down before they are sent.
    """

    def __init__(
        self,
        settings: BatchedProvider,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(settings, log, journal)
        self._mode = settings.mode
        self._lane: BatchLane | None = None
        if settings.mode == "batch" and jobs is not None:
            self._lane = BatchLane(
                settings.batch_api(),
                jobs,
                self.space,
                poll_seconds=settings.poll_seconds,
                wait_seconds=settings.wait_seconds,
                attempts=settings.attempts,
                max_failures=settings.max_failures,
                # Raises if even this is refused.
                check=lambda: self.embed(["a"], input_type="document"),
                cut=self.cut,
                log=self._log,
            )

    def embed_batches(
        self, batches: Iterable[tuple[K, Sequence[str]]]
    ) -> Iterator[tuple[K, Embeddings]]:
        if self._mode == "realtime":
            return super().embed_batches(batches)
        if self._lane is None:
            raise ConfigurationError(
                "`mode: batch` embeds documents only where its jobs are written down: open the "
                "embedder with `jobs`, or choose `mode: realtime`"
            )
        return self._lane.embed_batches(batches)

    def written(self, key: Any) -> None:
        if self._lane is not None:
            self._lane.written(key)
        super().written(key)

    def close(self) -> None:
        if self._lane is not None:
            self._lane.close()
        super().close()
