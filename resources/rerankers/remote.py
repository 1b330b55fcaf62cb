"""What rerankers behind an API share: requests within the limits, tried again, split, counted."""

import asyncio
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import Field
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_exponential_jitter

from resources.core.errors import ProviderError
from resources.embedders.failures import RequestFailed, timed_out, unreadable
from resources.embedders.packing import estimate_tokens
from resources.models import catalogue
from resources.rerankers.base import Candidate, Scored, TextReranker, estimated_tokens
from resources.rerankers.facts import Facts
from resources.rerankers.meter import Meter
from resources.rerankers.provider import RerankerProvider

T = TypeVar("T")

# For models that the catalogue does not know.
_CAUTIOUS_TEXTS, _CAUTIOUS_TOKENS = 1000, 100_000

_SILENT = 2
"""Requests without an answer in time, after which no other is sent: a person waits."""

INSTEAD = "search again, or without `rerank`"


class RemoteReranking(RerankerProvider, ABC):
    """Settings of a reranker that is reached over the network."""

    base_url: str | None = Field(default=None, description="Another endpoint of the same API.")
    max_texts: int | None = Field(
        default=None, ge=1, description="Texts per request; default: what the model allows."
    )
    max_tokens: int | None = Field(
        default=None, ge=1, description="Estimated tokens per request; default likewise."
    )
    attempts: int = Field(
        default=3, ge=1, description="Tries per request that fails for no fault of ours."
    )
    patience_seconds: float = Field(
        default=30, gt=0, description="How long refusals for speed (429) are waited out."
    )
    timeout_seconds: float = Field(
        default=30, gt=0, description="Per request, from its first byte to the answer's last."
    )

    def limits(self, facts: Facts) -> tuple[int, int]:
        """Texts and estimated tokens of one request."""
        entry = catalogue.find(facts.provider, facts.model, "rerank")
        return (
            self.max_texts or (entry and entry.max_texts) or _CAUTIOUS_TEXTS,
            self.max_tokens or (entry and entry.max_request_tokens) or _CAUTIOUS_TOKENS,
        )


@dataclass
class _Search:
    """The candidates of one search, and what has come of them by now."""

    query: str
    texts: list[str]
    scores: list[float | None]
    splits: int
    refused: dict[int, str] = field(default_factory=dict)
    tokens: int = 0
    unbilled: bool = False


class RemoteReranker(TextReranker, ABC):
    """Runs an event loop of its own, in which the requests of all threads are under way."""

    def __init__(self, settings: RemoteReranking, meter: Meter | None) -> None:
        super().__init__(settings.facts())
        self._settings, self._meter = settings, meter
        self._limits = settings.limits(self.facts)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    # --- for providers

    @abstractmethod
    async def request(self, query: str, texts: list[str]) -> Scored:
        """Send one request, once; as many scores as texts, in their order.

        Raises:
            RequestFailed: With what is to be done about it.
        """

    @abstractmethod
    async def disconnect(self) -> None:
        """Close connections."""

    # --- for searches

    def score(self, query: str, candidates: Sequence[Candidate]) -> Scored:
        texts = [candidate.text or "" for candidate in candidates]
        # Enough to find two texts at fault among so many, and an end where all are refused.
        splits = 2 * math.ceil(math.log2(len(texts) + 1))
        search = _Search(query, texts, [None] * len(texts), splits)
        self._result(self._score(search))
        tokens = None if search.unbilled else search.tokens
        return Scored(search.scores, tokens, search.refused)

    def close(self) -> None:
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._finish(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    # --- the event loop

    def _result(self, work: Coroutine[Any, Any, T]) -> T:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                name = f"{self.facts.provider}-rerank"
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name=name, daemon=True
                )
                self._thread.start()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:  # Ctrl-C too: nobody waits for the answer any more
            future.cancel()
            raise

    async def _finish(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self.disconnect()

    async def _score(self, search: _Search) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for part in self._parts(search):
                    group.create_task(self._part(search, part))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures

    def _parts(self, search: _Search) -> Iterator[range]:
        """Positions that go out together; one oversized text goes alone."""
        max_texts, max_tokens = self._limits
        each = estimate_tokens(search.query)
        start, tokens = 0, 0
        for at, text in enumerate(search.texts):
            size = each + estimate_tokens(text)
            if at > start and (at - start >= max_texts or tokens + size > max_tokens):
                yield range(start, at)
                start, tokens = at, 0
            tokens += size
        yield range(start, len(search.texts))

    async def _part(self, search: _Search, part: range) -> None:
        """A refused request is split, so that one text costs no other."""
        try:
            found = await self._tried(search.query, [search.texts[at] for at in part])
        except RequestFailed as failure:
            if failure.kind not in ("refused", "misfit"):
                raise ProviderError(f"{self.facts}: {failure}; {INSTEAD}") from failure
            if len(part) == 1:
                search.refused[part[0]] = failure.said
                return
            search.splits -= 1
            if search.splits < 0:
                raise ProviderError(
                    f"{self.facts} refuses one text after another: {failure}; {INSTEAD}"
                ) from failure
            middle = len(part) // 2
            await self._part(search, part[:middle])
            await self._part(search, part[middle:])
            return
        for at, score in zip(part, found.scores, strict=True):
            search.scores[at] = score
        search.tokens += found.tokens or 0
        search.unbilled |= found.tokens is None

    async def _tried(self, query: str, texts: list[str]) -> Scored:
        """One request, however often it takes.

        Raises:
            RequestFailed: All tries were in vain, or another would be.
        """
        settings, failed, silent = self._settings, 0, 0
        backoff = wait_exponential_jitter(initial=0.25, max=8, jitter=0.25)
        start = asyncio.get_running_loop().time()

        def pause(state: RetryCallState) -> float:
            wanted = _failure(state).retry_after
            return backoff(state) if wanted is None else wanted

        def exhausted(state: RetryCallState) -> bool:
            nonlocal failed, silent
            failure = _failure(state)
            if failure.kind == "throttled":
                waited = asyncio.get_running_loop().time() - start
                return waited + pause(state) > settings.patience_seconds
            failed += 1
            silent += failure.timed_out
            return failed >= settings.attempts or silent >= _SILENT

        tries = AsyncRetrying(
            retry=retry_if_exception(_worth_another_try), stop=exhausted, wait=pause, reraise=True
        )
        async for attempt in tries:
            with attempt:
                return await self._once(query, texts)
        raise AssertionError("unreachable: the loop returns or raises")

    async def _once(self, query: str, texts: list[str]) -> Scored:
        seconds = self._settings.timeout_seconds
        try:
            try:
                # The SDKs bound the pauses between two bytes, not the whole.
                async with asyncio.timeout(seconds):
                    found = await self.request(query, texts)
            except TimeoutError as error:
                raise timed_out(seconds) from error
            except RequestFailed as failure:
                raise (timed_out(seconds) if failure.timed_out else failure) from failure
            except Exception as error:
                raise unreadable(error) from error
        except RequestFailed as failure:
            self._count(query, texts, failure.tokens)
            raise
        self._count(query, texts, found.tokens)
        return found

    def _count(self, query: str, texts: list[str], tokens: int | None) -> None:
        if self._meter is not None and tokens != 0:
            estimate = estimated_tokens(query, texts)
            self._meter.add(texts=len(texts), tokens=tokens, estimate=estimate)


def _failure(state: RetryCallState) -> RequestFailed:
    failure = state.outcome.exception() if state.outcome else None
    assert isinstance(failure, RequestFailed), "nothing else is tried again"
    return failure


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, RequestFailed) and error.kind in {"throttled", "transient"}
