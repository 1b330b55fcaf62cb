"""What all remote providers share: requests in flight, retries, splitting, the circuit breaker."""

import asyncio
import base64
import threading
import uuid
from abc import abstractmethod
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import Field
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from resources.config import StrictConfig
from resources.embedders import catalogue
from resources.embedders.base import (
    Embedder,
    Embeddings,
    InputType,
    Usage,
    check_reply,
    of_batch,
)
from resources.embedders.journal import Journal
from resources.embedders.pace import Pace, Turn
from resources.embedders.packing import estimate_tokens, pack
from resources.embedders.space import EmbeddingSpace
from resources.errors import ProviderError
from resources.vector_store.formats import NUMPY_TYPES

K = TypeVar("K")
T = TypeVar("T")

# For models that the catalogue does not know.
_CAUTIOUS_TEXTS, _CAUTIOUS_TOKENS = 128, 100_000

# What a text must look like that no provider refuses: tells a bad text from bad settings.
_HARMLESS = "a"


class RemoteProvider(StrictConfig):
    """Settings of a provider that is reached over the network."""

    base_url: str | None = Field(default=None, description="Another endpoint of the same API.")
    max_texts: int | None = Field(
        default=None, ge=1, description="Texts per request; default: what the model allows."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Estimated tokens per request; default likewise."
    )
    concurrency: int = Field(default=8, ge=1, le=256, description="Requests in flight.")
    requests_per_minute: int | None = Field(
        default=None, ge=1, description="Default: learned from the replies where they say it."
    )
    tokens_per_minute: int | None = Field(default=None, ge=1, description="Likewise.")
    attempts: int = Field(
        default=6, ge=1, description="Tries per request that fails for no fault of ours."
    )
    patience_seconds: float = Field(
        default=600,
        gt=0,
        description="How long refusals for speed (429) are waited out while nothing gets through.",
    )
    max_failures: int = Field(
        default=20, ge=1, description="Failed requests in a row, of all, that end the run."
    )
    timeout_seconds: float = Field(default=120, gt=0, description="Per request.")

    def request_limits(self, provider: str, model: str) -> dict[str, int]:
        """Texts and estimated tokens per request: as configured, else as the catalogue says."""
        entry = catalogue.find(provider, model)
        texts = self.max_texts or (entry and entry.max_texts) or _CAUTIOUS_TEXTS
        tokens = self.max_tokens or (entry and entry.max_request_tokens) or _CAUTIOUS_TOKENS
        return {"max_texts": texts, "max_tokens": tokens}


@dataclass(frozen=True)
class Reply:
    """One request's answer as the provider gave it.

    Attributes:
        rows: The vectors, as many and as wide as they came.
        tokens: As billed.
        order: The position that each row claims to answer.
        headers: Of the HTTP response, lower-case names.
    """

    rows: Sequence[np.ndarray]
    tokens: int
    order: Sequence[int]
    headers: Mapping[str, str]


class RequestFailed(Exception):
    """A request failed; its kind decides what happens next.

    `throttled` and `transient` are tried again, `refused` is split to find the text at fault, and
    `fatal` ends the run.
    """

    def __init__(
        self,
        kind: Literal["throttled", "transient", "refused", "fatal"],
        message: str,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after = retry_after


@dataclass
class _Batch:
    """Texts that are embedded together, and what has come of them by now."""

    texts: list[str]
    input_type: InputType
    vectors: np.ndarray
    finished: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    error: ProviderError | None = None
    requests: int = 0
    retries: int = 0
    tokens: int = 0
    waited: float = 0.0
    request_ids: list[str] = field(default_factory=list)

    def reply(self) -> Embeddings:
        usage = Usage(
            requests=self.requests,
            retries=self.retries,
            tokens=self.tokens,
            throttled_seconds=self.waited,
            request_ids=tuple(self.request_ids),
        )
        unfinished = frozenset(range(len(self.texts))) - self.finished - set(self.refused)
        return Embeddings(self.vectors, None, usage, self.refused, unfinished)


class RemoteEmbedder(Embedder):
    """Runs an event loop of its own, in which all batches share one pace."""

    journal: Journal | None = None

    def __init__(self, settings: RemoteProvider, space: EmbeddingSpace, model: str) -> None:
        self.space = space
        self.model = model
        self._settings = settings
        self._limits = settings.request_limits(space.provider, model)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pace: Pace
        self._failures_in_a_row = 0
        self._fatal: ProviderError | None = None
        self._checking = asyncio.Lock()
        self._harmless_accepted = False

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

    # --- for the pipeline

    def embed(self, texts: Sequence[str], *, input_type: InputType) -> Embeddings:
        batch = self._submit(self._embed(list(texts), input_type)).result()
        if batch.error is not None:
            raise batch.error
        if batch.refused and input_type == "query":
            # Nobody looks for a query in quarantine.
            raise self._error(f"it refuses the query: {next(iter(batch.refused.values()))}")
        return batch.reply()

    def embed_batches(
        self, batches: Iterable[tuple[K, Sequence[str]]]
    ) -> Iterator[tuple[K, Embeddings]]:
        """As they are finished, with enough of them under way to keep every request slot busy.

        When one fails for good, what others under way come to is still handed out, then the error
        is raised: nothing that was paid for is lost.
        """
        source = iter(batches)
        running: dict[Future[_Batch], K] = {}
        failure: ProviderError | None = None
        try:
            while True:
                while failure is None and len(running) <= self._settings.concurrency:
                    given = next(source, None)
                    if given is None:
                        break
                    running[self._submit(self._embed(list(given[1]), "document"))] = given[0]
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    key, batch = running.pop(future), future.result()
                    if batch.error is not None and failure is None:
                        failure = of_batch(batch.error, key)
                    if batch.error is None or batch.finished or batch.refused:
                        yield key, batch.reply()
        finally:
            for future in running:
                future.cancel()
        if failure is not None:
            raise failure

    def close(self) -> None:
        if self._loop is None or self._thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = self._thread = None

    # --- the event loop

    def _submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name=f"{self.space.provider}-requests", daemon=True
            )
            self._thread.start()
            settings = self._settings
            self._pace = Pace(
                settings.concurrency,
                requests_per_minute=settings.requests_per_minute,
                tokens_per_minute=settings.tokens_per_minute,
            )
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _finish(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.disconnect()

    async def _embed(self, texts: list[str], input_type: InputType) -> _Batch:
        element = NUMPY_TYPES[self.space.element]
        vectors = np.zeros((len(texts), self.space.width), dtype=element)
        batch = _Batch(texts, input_type, vectors)
        pieces = pack(texts, **self._limits)
        await asyncio.gather(*(self._positions(batch, piece) for piece in pieces))
        return batch

    async def _positions(self, batch: _Batch, positions: range) -> None:
        """Embed some of the texts; a refused request is halved down to the texts at fault."""
        try:
            vectors = await self._retried(batch, [batch.texts[at] for at in positions])
        except ProviderError as error:
            batch.error = batch.error or error
        except RequestFailed as refusal:
            await self._split(batch, positions, refusal)
        else:
            batch.vectors[positions.start : positions.stop] = vectors
            batch.finished.update(positions)

    async def _split(self, batch: _Batch, positions: range, refusal: RequestFailed) -> None:
        try:
            await self._check_settings(batch, refusal)
        except ProviderError as error:
            batch.error = batch.error or error
            return
        if len(positions) == 1:
            batch.refused[positions[0]] = str(refusal)
            return
        middle = len(positions) // 2
        await asyncio.gather(
            self._positions(batch, positions[:middle]), self._positions(batch, positions[middle:])
        )

    async def _check_settings(self, batch: _Batch, refusal: RequestFailed) -> None:
        """Refused for a text, or for the settings? Every text would be refused for those."""
        async with self._checking:
            if self._harmless_accepted:
                return
            try:
                await self._retried(batch, [_HARMLESS])
            except RequestFailed as failure:
                raise self._give_up(f"it refuses every text: {refusal}") from failure
            self._harmless_accepted = True

    async def _retried(self, batch: _Batch, texts: list[str]) -> np.ndarray:
        """Vectors of texts that go out in one request, however often it takes.

        Raises:
            RequestFailed: The provider refuses the texts.
            ProviderError: Nothing more can be had from it.
        """
        failures = 0

        def exhausted(state: RetryCallState) -> bool:
            nonlocal failures
            failure = _failure(state)
            if failure.kind == "throttled":
                patience = self._settings.patience_seconds
                return self._pace.drought_seconds + (failure.retry_after or 0.0) > patience
            failures += 1
            return failures >= self._settings.attempts

        backoff = wait_exponential_jitter(initial=0.25, max=16, jitter=0.5)

        def pause(state: RetryCallState) -> float:
            failure = _failure(state)
            # The pace holds back all requests alike.
            return 0.0 if failure.kind == "throttled" else failure.retry_after or backoff(state)

        tries = AsyncRetrying(
            retry=retry_if_exception(_worth_another_try),
            stop=exhausted,
            wait=pause,
            sleep=self._pace.sleep,
            reraise=True,
        )
        try:
            async for attempt in tries:
                with attempt:
                    return await self._once(
                        batch, texts, again=attempt.retry_state.attempt_number > 1
                    )
        except RequestFailed as failure:
            if failure.kind == "refused":
                raise
            reason = str(failure)
            if failure.kind == "throttled":
                reason += f"; nothing gets through for {self._settings.patience_seconds:g} seconds"
            elif failure.kind == "transient":
                reason += f"; tried {failures} times"
            raise self._give_up(reason) from failure
        raise AssertionError("unreachable: the loop returns or raises")

    async def _once(self, batch: _Batch, texts: list[str], *, again: bool) -> np.ndarray:
        estimate = sum(estimate_tokens(text) for text in texts)
        async with self._pace.turn(estimate) as turn:
            batch.waited += turn.waited
            if self._fatal is not None:
                raise self._fatal
            batch.requests += 1
            batch.retries += again
            name = uuid.uuid4().hex
            if self.journal:
                await asyncio.to_thread(
                    self.journal.opened, name, texts=len(texts), tokens=estimate
                )
            try:
                reply = await self.request(texts, batch.input_type)
            except RequestFailed as failure:
                if self.journal and failure.kind in ("throttled", "refused"):
                    await asyncio.to_thread(self.journal.closed, name, tokens=0)
                self._note(failure, turn)
                raise
            if self.journal:
                await asyncio.to_thread(self.journal.closed, name, tokens=reply.tokens)
                batch.request_ids.append(name)
            self._failures_in_a_row = 0
            self._pace.succeeded()
            self._pace.used(estimate, reply.tokens)
            self._pace.learn(reply.headers)
            batch.tokens += reply.tokens
            # Before the place is free: nothing more goes out after a damaged reply.
            return self._checked(reply, len(texts))

    def _note(self, failure: RequestFailed, turn: Turn) -> None:
        if failure.kind == "throttled":
            self._pace.throttled(turn, failure.retry_after)
        elif failure.kind == "transient":
            self._failures_in_a_row += 1
            if self._failures_in_a_row >= self._settings.max_failures:
                raise self._give_up(
                    f"{self._failures_in_a_row} requests in a row failed, the last: {failure}; "
                    "the run stops, and the next one goes on from here"
                ) from failure

    def _checked(self, reply: Reply, texts: int) -> np.ndarray:
        widths = sorted({len(row) for row in reply.rows})
        if len(widths) > 1:
            raise self._give_up(
                f"it returned vectors of {' and '.join(map(str, widths))} dimensions in one reply, "
                f"the space {self.space.id} has {self.space.dimensions}; nothing of it is stored"
            )
        if len(reply.rows) == texts and list(reply.order) != list(range(texts)):
            raise self._give_up(
                "it answered the texts in another order, or not each once; nothing of the reply "
                "is stored"
            )
        try:
            return check_reply(np.array(reply.rows), texts, self.space)
        except ProviderError as error:
            raise self._end(error) from None

    def _give_up(self, reason: str) -> ProviderError:
        return self._end(self._error(reason))

    def _end(self, error: ProviderError) -> ProviderError:
        """No request goes out after this: whatever is wrong is wrong for all of them."""
        self._fatal = self._fatal or error
        self._pace.stop()
        return self._fatal

    def _error(self, reason: str) -> ProviderError:
        return ProviderError(f"{self.space.provider} model {self.model}: {reason}")


def _failure(state: RetryCallState) -> RequestFailed:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, RequestFailed), "nothing else is tried again"
    return failure


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, RequestFailed) and error.kind in {"throttled", "transient"}


def decoded(embedding: Any, kind: str = "<f4") -> np.ndarray:
    """A row as numbers; some servers know no base64 and send them as they are.

    Args:
        embedding: From the reply.
        kind: NumPy's name of its numbers.
    """
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding), dtype=kind)
    # As they came, so that what does not fit is seen and not cut to size.
    return np.asarray(embedding, dtype=np.float32)


def unreadable(error: Exception) -> RequestFailed:
    """For what an SDK lets through: broken JSON, a proxy's page, a connection that is cut."""
    return RequestFailed("transient", f"the reply cannot be read ({type(error).__name__})")


def lower_case(headers: Any) -> dict[str, str]:
    """Header names as HTTP has them: in any case."""
    return {str(name).lower(): str(value) for name, value in dict(headers or {}).items()}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `retry-after` (seconds or an HTTP date)."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * scale)
        except ValueError:
            return _until(value)
    return None


def _until(http_date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
