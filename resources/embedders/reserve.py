"""What one process holds of a shared quota: taken bit by bit, reserved in pieces.

What is reserved may be used for a moment only, and lapses with its holder. What of it was used, and
when, is reported with the next reservation, so that the rest is free again.
"""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from pymongo.errors import PyMongoError

from resources.core.moment import elapsed
from resources.embedders.quota import NOTHING, Amount, Change, Place, Reserved, SharedQuota

AHEAD_SECONDS = 1.0
"""What was used in so long is reserved beyond what waits: as much is likely to come."""


@dataclass(eq=False)
class _Held:
    """A reservation, and what has come of it.

    Attributes:
        open: Requests that may not have got there yet.
        last: When the last of the others had, at the latest.
    """

    given: Reserved
    place: Place
    booked: Amount
    used: Amount = NOTHING
    open: int = 0
    last: float | None = None

    def has(self, amount: Amount, now: float) -> bool:
        after = self.used.plus(amount)
        within = all(have >= need for have, need in zip(self.given.amount, after, strict=True))
        return within and self.given.begin <= now <= self.given.end


@dataclass(eq=False)
class Ticket:
    """What one request takes."""

    amount: Amount
    held: _Held = field(repr=False)
    sent: float | None = None


class Reserve:
    """Used within one event loop; the server is asked in threads.

    Args:
        quota: Shared with other processes.
        pause: Sleeps, until it is stopped.
        stopped: Whether no further request is going to be sent.
    """

    def __init__(
        self,
        quota: SharedQuota,
        pause: Callable[[float], Awaitable[None]],
        stopped: Callable[[], bool],
    ) -> None:
        self._quota, self._pause, self._stopped = quota, pause, stopped
        self._turn = asyncio.Lock()
        self._wanted = NOTHING
        self._current: _Held | None = None
        self._changed: dict[_Held, None] = {}
        self._recent: deque[tuple[float, Amount]] = deque()
        self._estimated = self._billed = 0
        # A thread goes on though nobody waits for it any more.
        self._asking, self._lock = threading.Lock(), threading.Lock()

    async def take(self, tokens: int) -> Ticket | None:
        """Wait until a request of so many tokens, as estimated, may be sent; None when stopped."""
        limit = self._quota.limits[1]
        # A model whose tokens are shorter than was thought would use more than is allowed.
        likely = math.ceil(tokens * max(1.0, self._billed / max(1, self._estimated)))
        amount = Amount(1, likely if limit is None else min(likely, limit))
        self._wanted = self._wanted.plus(amount)
        try:
            async with self._turn:  # in the order of asking
                while not self._stopped():
                    held = self._current
                    if held is not None and held.has(amount, elapsed()):
                        self._use(held, amount)
                        return Ticket(amount, held)
                    if held is not None and elapsed() < held.given.begin:
                        await self._pause(held.given.begin - elapsed())
                        continue
                    await asyncio.to_thread(self._ask, amount)
            return None
        finally:
            self._wanted = self._wanted.minus(amount)

    def sent(self, ticket: Ticket) -> bool:
        """To be asked right before a request is sent: whether what it took has not lapsed."""
        now = elapsed()
        with self._lock:
            held = ticket.held
            if now > held.given.end:
                return False
            ticket.sent = now
            return True

    def over(self, ticket: Ticket) -> None:
        """It was sent, and is answered or given up: nobody knows when between it got there."""
        with self._lock:
            held = ticket.held
            assert ticket.sent is not None, "only what was sent can be answered"
            there = min(elapsed(), ticket.sent + self._quota.transit)
            held.open -= 1
            held.last = max(held.last or there, there)
            self._changed[held] = None

    def give_back(self, ticket: Ticket) -> None:
        """It was not sent."""
        with self._lock:
            ticket.held.used = ticket.held.used.minus(ticket.amount)
            ticket.held.open -= 1
            self._changed[ticket.held] = None

    def billed(self, ticket: Ticket, estimated: int, tokens: int) -> None:
        """What a request really took, which is counted instead of what was estimated."""
        self._estimated += estimated
        self._billed += tokens
        with self._lock:
            held = ticket.held
            held.used = held.used.plus(Amount(0, tokens - ticket.amount.tokens))
            self._changed[held] = None

    def close(self) -> None:
        """Give back what is left: best effort, it lapses by itself; blocks."""
        with self._asking, suppress(PyMongoError):
            _, changes = self._changes()
            if changes:
                self._quota.settle(changes)

    def _use(self, held: _Held, amount: Amount) -> None:
        now = elapsed()
        with self._lock:
            held.used = held.used.plus(amount)
            held.open += 1
            self._changed[held] = None
        self._recent.append((now, amount))
        while self._recent[0][0] < now - AHEAD_SECONDS:
            self._recent.popleft()

    def _ask(self, least: Amount) -> None:
        recently = elapsed() - AHEAD_SECONDS
        wanted = self._wanted
        for moment, amount in tuple(self._recent):
            if moment >= recently:
                wanted = wanted.plus(amount)
        sides = zip(least, wanted, self._quota.at_once, strict=True)
        asked = Amount(*(max(need, min(want, most)) for need, want, most in sides))
        with self._asking:
            changed, changes = self._changes()
            given, places = self._quota.reserve(asked, changes)
            with self._lock:
                for held, change, place in zip(changed, changes, places, strict=True):
                    held.booked, held.place = change.used, place
                    if held.last == change.last:
                        held.last = None
                self._current = _Held(given, given.place, asked)

    def _changes(self) -> tuple[list[_Held], list[Change]]:
        """What has to be reported; what is left of the newest goes back with it."""
        with self._lock:
            if self._current is not None:
                self._changed[self._current] = None
                self._current = None
            changed = [*self._changed]
            self._changed.clear()
            # What is not there yet may get there as long as it was reserved for.
            return changed, [
                Change(held.place, held.booked, held.used, None if held.open else held.last)
                for held in changed
            ]
