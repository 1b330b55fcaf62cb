"""Searchers that are open: one a pipeline, each with threads of its own, so many at a time."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from pipelines.operations.search import Searcher
from pipelines.serving.sentences import Busy, TooSlow
from resources.core.errors import DeploymentError

log = logging.getLogger("embeddings.serve")

MAX_OPEN = 4
"""Each may hold a model and an index in memory."""
THREADS = 4
"""Of each pipeline: as many questions are answered at once."""
MAX_WAITING = 64
"""Of each pipeline, those that are answered included."""
MAX_SECONDS = 120.0
"""Then whoever asks is told so; the search itself cannot be stopped."""
CLOSING_SECONDS = 5.0

T = TypeVar("T")


@dataclass(eq=False)
class _Open:
    name: str
    pool: ThreadPoolExecutor
    stack: ExitStack
    searcher: "asyncio.Future[Searcher]" = field(init=False)
    busy: int = 0
    dropped: bool = False


class Searchers:
    """To be used from one event loop; the searches run in threads.

    A pipeline that is slow, hangs or is broken keeps only its own threads busy.

    Args:
        opened: Opens a pipeline's searcher; called in a thread.
    """

    def __init__(
        self,
        opened: Callable[[str], AbstractContextManager[Searcher]],
        *,
        most: int = MAX_OPEN,
        threads: int = THREADS,
        waiting: int = MAX_WAITING,
        seconds: float = MAX_SECONDS,
    ) -> None:
        self._opened, self._most, self._threads = opened, most, threads
        self._waiting, self._seconds = waiting, seconds
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._held: set[_Open] = set()

    async def ask(self, name: str, question: Callable[[Searcher], T]) -> T:
        """What `question` makes of the pipeline's searcher, in a thread.

        Raises:
            Busy: Too many questions wait for this pipeline.
            TooSlow: It takes too long.
            EmbeddingsError: As `open_searcher`, and as the question.
        """
        was_open = name in self._open
        try:
            return await self._ask(name, question)
        except DeploymentError:
            # The server may have moved: what is opened anew finds it.
            if not was_open:
                raise
        return await self._ask(name, question)

    async def close(self) -> bool:
        """Close all; False where a search still runs that nothing can stop."""
        for name in list(self._open):
            self._drop(self._open[name])
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                while self._held:
                    await asyncio.sleep(0.02)
        return not self._held

    async def _ask(self, name: str, question: Callable[[Searcher], T]) -> T:
        found = self._entry(name)
        if found.busy >= self._waiting:
            raise Busy(f"{self._waiting} questions to {name} wait already: ask again in a moment")
        found.busy += 1
        answer = asyncio.ensure_future(self._answer(found, question))
        answer.add_done_callback(lambda done: self._answered(found, done))
        try:
            # Whoever gives up does not stop the thread, which counts until it is done.
            return await asyncio.wait_for(asyncio.shield(answer), self._seconds)
        except TimeoutError:
            raise TooSlow(
                f"{name} has not answered within {self._seconds:.0f} s: its deployment or its "
                "model may hang; ask again, or look at the server's log"
            ) from None

    async def _answer(self, found: _Open, question: Callable[[Searcher], T]) -> T:
        try:
            searcher = await asyncio.shield(found.searcher)
        except BaseException:
            self._drop(found)
            raise
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(found.pool, question, searcher)
        except DeploymentError:
            self._drop(found)
            raise

    def _answered(self, found: _Open, done: "asyncio.Future[T]") -> None:
        found.busy -= 1
        if not done.cancelled():
            done.exception()  # somebody may have given up on it
        self._close_unused(found)

    def _entry(self, name: str) -> _Open:
        found = self._open.get(name)
        if found is None:
            self._make_room()
            prefix = f"searching-{name}"
            found = _Open(name, ThreadPoolExecutor(self._threads, prefix), ExitStack())
            found.searcher = asyncio.get_running_loop().run_in_executor(
                found.pool, lambda: found.stack.enter_context(self._opened(name))
            )
            self._open[name] = found
            self._held.add(found)
        self._open.move_to_end(name)
        return found

    def _make_room(self) -> None:
        """Of those that answer nothing now, the one that was asked longest ago goes first."""
        while len(self._open) >= self._most:
            idle = [found for found in self._open.values() if not found.busy]
            self._drop(idle[0] if idle else next(iter(self._open.values())))

    def _drop(self, found: _Open) -> None:
        if self._open.get(found.name) is found:
            del self._open[found.name]
        if not found.dropped:
            found.dropped = True
            self._close_unused(found)

    def _close_unused(self, found: _Open) -> None:
        if not found.dropped or found.busy:
            return
        # Whoever waited for the opening was busy until it was done.
        closing = asyncio.get_running_loop().run_in_executor(found.pool, _close, found)
        found.pool.shutdown(wait=False)
        closing.add_done_callback(lambda done: self._held.discard(found))


def _close(found: _Open) -> None:
    try:
        found.stack.close()
    except Exception:
        log.exception("the searcher of %s could not be closed", found.name)
