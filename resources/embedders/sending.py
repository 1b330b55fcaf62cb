"""One request after another to one provider: its turn, its tries, the journal, the circuit."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from resources.core.errors import ProviderError
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embeddings, InputType, Refusal, Usage
from resources.embedders.failures import RequestFailed, timed_out, unreadable
from resources.embedders.journal import Journal
from resources.embedders.pace import Pace, Turn
from resources.embedders.packing import estimate_tokens
from resources.embedders.replies import Reply, Rows, checked
from resources.embedders.settings import RemoteProvider

_MINUTE = 60.0

Request = Callable[[list[str], InputType], Awaitable[Reply]]


_AROUND = 64
"""Tokens beside those of a text: special ones and the prompt."""


@dataclass(frozen=True)
class Tries:
    """How often a request is sent that fails in one way or another.

    Attributes:
        failed: In all, refusals for speed not counted.
        silent: Those without an answer in time: each costs the whole time-out.
        damaged: Those with a reply that cannot be used: each may be billed.
        throttled: Refusals for speed (429), after which it is looked whether others are served.
    """

    failed: int
    silent: int = 2
    damaged: int = 3
    throttled: int = 10

    @classmethod
    def again(cls) -> "Tries":
        """For a part of a request that has had all its tries."""
        return cls(failed=2, silent=1, damaged=2, throttled=3)


@dataclass
class Batch:
    """Texts that are embedded together, and what has come of them by now."""

    texts: list[str]
    input_type: InputType
    vectors: np.ndarray
    finished: set[int] = field(default_factory=set)
    refused: dict[int, Refusal] = field(default_factory=dict)
    progressed: Callable[[int], None] = lambda texts: None
    error: ProviderError | None = None
    requests: list[str] = field(default_factory=list)
    retries: int = 0
    tokens: int = 0
    unbilled: int = 0
    waited: float = 0.0

    def finish(self, rows: Mapping[int, np.ndarray]) -> None:
        """Keep the vectors of positions."""
        for at, row in rows.items():
            self.vectors[at] = row
        self.finished.update(rows)
        self.progressed(len(rows))

    def refuse(self, position: int, refusal: Refusal) -> None:
        self.refused[position] = refusal
        self.progressed(1)

    def billed(self, tokens: int | None) -> None:
        """Count what a reply cost; some servers do not say."""
        self.tokens += tokens or 0
        self.unbilled += tokens is None

    def reply(self) -> Embeddings:
        usage = Usage(
            requests=len(self.requests),
            retries=self.retries,
            tokens=None if self.unbilled and not self.tokens else self.tokens,
            throttled_seconds=self.waited,
            request_ids=tuple(self.requests),
        )
        unfinished = frozenset(range(len(self.texts))) - self.finished - set(self.refused)
        return Embeddings(self.vectors, None, usage, self.refused, unfinished)


class Sender:
    """What all requests of one connection share; used within one event loop.

    Args:
        name: Of the provider and model, for errors.
        request: Sends one, once.
    """

    def __init__(
        self,
        settings: RemoteProvider,
        space: EmbeddingSpace,
        name: str,
        request: Request,
        pace: Pace,
        journal: Journal | None,
    ) -> None:
        self._settings, self._space, self._name = settings, space, name
        self._request, self._pace, self._journal = request, pace, journal
        self._failures_in_a_row = 0
        self._fatal: ProviderError | None = None
        self.manner = 0
        """Which of the ways that the provider knows of asking for the same is in use."""
        self.manner_works = False
        self.passed_at = float("-inf")
        """When the last request was sent that was answered soundly."""
        self.passed: Sequence[str] = ()
        """Texts that the server is known to embed."""

    @property
    def suspicious(self) -> bool:
        """So many requests in a row failed that the server may be down."""
        return self._failures_in_a_row >= self._settings.max_failures

    @property
    def in_a_row(self) -> int:
        return self._settings.max_failures

    async def tried(
        self,
        batch: Batch,
        texts: list[str],
        tries: Tries,
        *,
        keep: Callable[[Rows], None] = lambda rows: None,
        probe: bool = False,
    ) -> Rows:
        """Vectors of texts that go out in one request, however often it takes.

        They are given to `keep` before anything else that may fail. A `probe` asks whether the
        server works: its failures are not counted in the row.

        Raises:
            RequestFailed: All tries were in vain, or another would be.
            ProviderError: Nothing more can be had from the provider.
        """
        failed = silent = damaged = throttled = 0
        first: float | None = None

        def exhausted(state: RetryCallState) -> bool:
            nonlocal failed, silent, damaged, throttled
            failure = _failure(state)
            if failure.kind == "throttled":
                throttled += 1
                patience = self._settings.patience_seconds
                drought = self._pace.drought_seconds + (failure.retry_after or 0.0)
                if drought > patience:
                    raise self.give_up(
                        f"{failure}; nothing gets through for {patience:g} seconds", passing=True
                    ) from failure
                # A limit per minute is not the fault of this one.
                waited = time.monotonic() - (first or failure.at)
                return throttled >= tries.throttled and waited > min(_MINUTE, patience / 2)
            failed += 1
            silent += failure.timed_out
            damaged += failure.damaged
            return (
                failed >= tries.failed
                or silent >= tries.silent
                or damaged >= tries.damaged
                or self.suspicious
            )

        backoff = wait_exponential_jitter(initial=0.25, max=16, jitter=0.5)

        def pause(state: RetryCallState) -> float:
            failure = _failure(state)
            if failure.kind == "throttled":
                return 0.0  # the pace holds back all requests alike
            return min(failure.retry_after or backoff(state), self._settings.patience_seconds)

        attempts = AsyncRetrying(
            retry=retry_if_exception(_worth_another_try),
            stop=exhausted,
            wait=pause,
            sleep=self._pace.sleep,
            reraise=True,
        )
        try:
            async for attempt in attempts:
                with attempt:
                    again = attempt.retry_state.attempt_number > 1
                    try:
                        return await self._once(batch, texts, keep, again=again, probe=probe)
                    except RequestFailed as failure:
                        failure.others_passed = first is not None and self.passed_at > first
                        first = first or failure.at
                        raise
        except RequestFailed as failure:
            failure.tries = max(failed, 1)
            failure.cut_short = (
                failure.kind == "transient"
                and failed < tries.failed
                and silent < tries.silent
                and damaged < tries.damaged
            )
            raise
        raise AssertionError("unreachable: the loop returns or raises")

    async def _once(
        self,
        batch: Batch,
        texts: list[str],
        keep: Callable[[Rows], None],
        *,
        again: bool,
        probe: bool,
    ) -> Rows:
        estimate = sum(estimate_tokens(text) for text in texts)
        # A token is a byte at least, but for the few that a model puts around a text or its prompt.
        most = sum(len(text.encode()) for text in texts) + _AROUND * len(texts)
        # An outage is known by its tries: behind all others in the queue they would come too late.
        async with self._pace.turn(estimate, urgent=again or probe) as turn:
            batch.waited += turn.waited
            if self._fatal is not None:
                raise self._fatal
            name, manner, sent = uuid.uuid4().hex, self.manner, time.monotonic()
            await self._opened(name, len(texts), most)
            await self._pace.go(turn, estimate)
            if self._fatal is not None:
                await self._closed(name, 0)
                raise self._fatal
            batch.requests.append(name)
            batch.retries += again
            try:
                try:
                    reply = await self._answer(texts, batch.input_type)
                finally:
                    self._pace.over(turn)
                self._pace.used(turn, estimate, estimate if reply.tokens is None else reply.tokens)
                self._pace.learn(reply.headers)
                rows = checked(reply, len(texts), self._space)
            except RequestFailed as failure:
                failure.at, failure.manner = time.monotonic(), manner
                if failure.answered:
                    batch.billed(failure.tokens or 0)
                    await self._closed(name, failure.tokens)
                self._note(failure, turn, probe=probe)
                raise
            self._failures_in_a_row = 0
            self._pace.succeeded()
            self.passed_at = max(self.passed_at, sent)
            self.manner_works = self.manner_works or manner == self.manner
            if not rows.faults:
                self.passed = texts
            batch.billed(reply.tokens)
            keep(rows)
            await self._closed(name, reply.tokens)
            return rows

    async def _answer(self, texts: list[str], input_type: InputType) -> Reply:
        seconds = self._settings.timeout_seconds
        try:
            # The SDKs bound the pauses between two bytes, not the whole.
            async with asyncio.timeout(seconds):
                return await self._request(texts, input_type)
        except TimeoutError as error:
            raise timed_out(seconds) from error
        except RequestFailed as failure:
            raise (timed_out(seconds) if failure.timed_out else failure) from failure
        except Exception as error:
            raise unreadable(error) from error

    def _note(self, failure: RequestFailed, turn: Turn, *, probe: bool) -> None:
        if failure.kind == "throttled":
            self._pace.throttled(turn, failure.retry_after)
        elif failure.kind == "transient" and not probe:
            self._failures_in_a_row += 1

    async def _opened(self, name: str, texts: int, tokens: int) -> None:
        if self._journal is not None:
            await asyncio.to_thread(self._journal.opened, name, texts=texts, tokens=tokens)

    async def _closed(self, name: str, tokens: int | None) -> None:
        if self._journal is not None:
            await asyncio.to_thread(self._journal.closed, name, tokens=tokens)

    def give_up(self, reason: str, *, passing: bool = False) -> ProviderError:
        return self.end(ProviderError(f"{self._name}: {reason}", passing=passing))

    def end(self, error: ProviderError) -> ProviderError:
        """No request goes out after this: whatever is wrong is wrong for all of them."""
        self._fatal = self._fatal or error
        self._pace.stop()
        return self._fatal

    def check(self) -> None:
        if self._fatal is not None:
            raise self._fatal


def _failure(state: RetryCallState) -> RequestFailed:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, RequestFailed), "nothing else is tried again"
    return failure


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, RequestFailed) and error.kind in {"throttled", "transient"}
