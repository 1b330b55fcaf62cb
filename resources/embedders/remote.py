"""What all remote providers share: batches under way, each handed out when it is finished."""

import asyncio
import dataclasses
import threading
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, ClassVar, TypeVar

import numpy as np

from resources.core.errors import ProviderError
from resources.core.vectors import NUMPY_TYPES
from resources.embedders.base import Embedder, Embeddings, InputType, RefusedQuery, of_batch
from resources.embedders.blame import Blame
from resources.embedders.journal import Journal
from resources.embedders.pace import Pace
from resources.embedders.quota import SharedQuota
from resources.embedders.replies import Reply
from resources.embedders.sending import Batch, Sender
from resources.embedders.settings import RemoteProvider

K = TypeVar("K")
T = TypeVar("T")

_GRACE_SECONDS = 5.0
"""For the answers to requests that are sent as a run ends: they may be billed in any case."""


class RemoteEmbedder(Embedder):
    """Runs an event loop of its own, in which all batches share one pace.

    Args:
        settings: Of the provider.
        log: Told what changes for all requests.
        journal: Where requests are written down before they are sent.
    """

    concurrent = True
    manners: ClassVar[int] = 1
    """How many ways of asking for the same there are; see `Sender.manner`."""

    def __init__(
        self,
        settings: RemoteProvider,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(settings.space(), settings.facts())
        self._settings = settings
        self._log = log or (lambda _: None)
        self._journal = journal
        self._quota: SharedQuota | None = None
        self._most_tokens: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pace: Pace
        self._sender: Sender
        self._blame: Blame
        self._under_way: dict[Any, Batch] = {}
        self._starting = threading.Lock()

    # --- for providers

    @abstractmethod
    async def request(self, texts: list[str], input_type: InputType) -> Reply:
        """Send one request, once.

        Raises:
            RequestFailed: With what is to be done about it.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Close connections."""

    def cut(self, texts: Sequence[str]) -> frozenset[int]:
        """Positions of texts of which the model sees only the beginning, or may."""
        return frozenset()

    # --- for the pipeline

    def share(self, quota: SharedQuota, most_tokens: int | None) -> None:
        self._quota, self._most_tokens = quota, most_tokens

    def embed(self, texts: Sequence[str], *, input_type: InputType) -> Embeddings:
        batch = self._batch(texts, input_type)
        self._submit(self._embed(batch)).result()
        if batch.error is not None:
            raise batch.error
        if batch.refused and input_type == "query":
            # Nobody looks for a query in quarantine.
            why = self._error(f"it refuses the query: {next(iter(batch.refused.values())).reason}")
            raise RefusedQuery(str(why), self._reply(batch))
        return self._reply(batch)

    def embed_batches(
        self, batches: Iterable[tuple[K, Sequence[str]]]
    ) -> Iterator[tuple[K, Embeddings]]:
        """As they are finished, with enough of them under way to keep every request slot busy.

        When one fails for good, what others under way come to is still handed out, then the error
        is raised: nothing that was paid for is lost. Once the iterator is closed before its end,
        no request begins any more.
        """
        source = iter(batches)
        running: dict[Future[None], K] = {}
        failure: ProviderError | None = None
        try:
            while True:
                while failure is None and len(running) <= self._settings.concurrency:
                    given = next(source, None)
                    if given is None:
                        break
                    key, batch = given[0], self._batch(given[1], "document")
                    batch.progressed = self.progressed
                    self._under_way[key] = batch
                    running[self._submit(self._embed(batch))] = key
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    key = running.pop(future)
                    batch = self._under_way[key]
                    if batch.error is not None and failure is None:
                        failure = of_batch(batch.error, key)
                    if batch.error is None or batch.finished or batch.refused:
                        yield key, self._reply(batch)
                    # Whoever took it has come back for more.
                    self._under_way.pop(key, None)
        finally:
            if running and self._loop is not None:
                ended = self._error("the run has ended")
                self._loop.call_soon_threadsafe(self._sender.end, ended)
        if failure is not None:
            raise failure

    def salvage(self) -> Iterator[tuple[Any, Embeddings]]:
        if self._loop is None:
            return  # nothing was asked
        try:
            answers = _answered(_GRACE_SECONDS)
            asyncio.run_coroutine_threadsafe(answers, self._loop).result()
        finally:
            # Also if whoever ends the run asks for it once more meanwhile.
            asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result()
            while self._under_way:
                key, batch = self._under_way.popitem()
                if batch.finished or batch.refused:
                    yield key, self._reply(batch)

    def written(self, key: Any) -> None:
        self._under_way.pop(key, None)

    def close(self) -> None:
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    # --- the event loop

    def _batch(self, texts: Sequence[str], input_type: InputType) -> Batch:
        element = NUMPY_TYPES[self.space.element]
        vectors = np.zeros((len(texts), self.space.width), dtype=element)
        return Batch(list(texts), input_type, vectors)

    def _reply(self, batch: Batch) -> Embeddings:
        return dataclasses.replace(batch.reply(), cut=self.cut(batch.texts))

    async def _embed(self, batch: Batch) -> None:
        await self._blame.embed(batch)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        with self._starting:
            if self._loop is None:
                self._connect_parts()
                self._loop = asyncio.new_event_loop()
                name = f"{self.space.provider}-requests"
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name=name, daemon=True
                )
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _connect_parts(self) -> None:
        settings = self._settings
        pace = Pace(
            settings.concurrency,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            quota=self._quota,
        )
        self._pace = pace
        name, limits = f"{self.space.provider} model {self.model}", self.facts.limits
        most = limits.tokens or 1
        self._sender = Sender(settings, self.space, name, self.request, pace, self._journal)
        self._blame = Blame(
            self._sender,
            {"max_texts": limits.texts or 1, "max_tokens": min(most, self._most_tokens or most)},
            attempts=settings.attempts,
            manners=self.manners,
            log=self._log,
        )

    async def _finish(self) -> None:
        await _cancel_all()
        await asyncio.to_thread(self._pace.close)
        await self.disconnect()
        await asyncio.get_running_loop().shutdown_default_executor()

    def _error(self, reason: str) -> ProviderError:
        return ProviderError(f"{self.space.provider} model {self.model}: {reason}")


async def _answered(seconds: float) -> None:
    # Of a batch that has failed some requests may be under way still: of each it is waited for.
    if left := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(left, timeout=seconds)


async def _cancel_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
