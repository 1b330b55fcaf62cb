"""Time that stands still while a request is under way, and leaps to the next timer when all wait.

Pauses, limits and time-outs cost a test nothing and are as long as they should be, however busy the
machine is.
"""

import asyncio
import selectors
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

TICK = 1e-7
"""Passes with every look, or what is left of a pause by rounding would be waited for for ever."""


class Clock:
    """Stands for the modules `time` and `asyncio` where it is put in their place.

    Attributes:
        now: Seconds.
    """

    time = staticmethod(time.time)

    def __init__(self) -> None:
        self.now = 1000.0
        self._under_way: Counter[tuple[str, ...]] = Counter()
        self._silent: set[tuple[str, ...]] = set()
        self._loops: list[asyncio.AbstractEventLoop] = []

    def monotonic(self) -> float:
        self.now += TICK
        return self.now

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        self._loops.append(loop := _Loop(self))
        return loop

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @property
    def busy(self) -> bool:
        """Whether an answer is to come, so that no time passes before it."""
        return bool(self._under_way.keys() - self._silent)

    def watch(self, request: Callable[..., Any]) -> Callable[..., Any]:
        """The same way of sending a request, known to be under way until it is answered."""

        async def watched(texts: list[str], *options: Any) -> Any:
            self._under_way[key := tuple(texts)] += 1
            try:
                return await request(texts, *options)
            finally:
                self._silent.discard(key)
                self._under_way -= Counter([key])

        return watched

    def silent(self, request: Any) -> None:
        """To be told of a request that gets no answer any more."""
        self._silent.add(tuple(request.texts))
        for loop in self._loops:
            if not loop.is_closed():
                loop.call_soon_threadsafe(bool)  # look again


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        self._of = clock
        super().__init__(_Selector(clock, lambda: bool(asyncio.all_tasks(self))))

    def time(self) -> float:
        return self._of.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, clock: Clock, awaited: Callable[[], bool]) -> None:
        super().__init__()
        self._clock, self._awaited = clock, awaited

    def select(self, timeout: float | None = None) -> list[Any]:
        if not timeout:
            return super().select(timeout)
        if self._clock.busy or not self._awaited():
            return super().select()
        found = super().select(0)
        if not found:
            self._clock.now += timeout
        return found
