"""How many requests may be in flight, and how fast: limits that are configured, learned or felt.

The window follows TCP's congestion control: a refusal for going too fast (429) shrinks it by a
quarter, every window of successes widens it by one, never past the configured concurrency. After a
refusal everybody pauses, for as long as the provider says; where it does not, twice as long each
time, and half as long after each success.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from resources.embedders.quota import SharedQuota
from resources.embedders.reserve import Reserve, Ticket

BACKOFF = 0.75
BURST_SECONDS = 6.0
"""How much of a minute's limit may be used at once."""
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.1, 16.0

_HEADERS = {"requests": "x-ratelimit-limit-requests", "tokens": "x-ratelimit-limit-tokens"}


@dataclass
class Turn:
    """A request's permission to go out, when it got it and how long the limits kept it waiting.

    Attributes:
        ticket: What it takes of a quota that other processes share.
    """

    began: float
    waited: float
    ticket: Ticket | None = None


class Pace:
    """Shared by everything that sends requests to one provider; used within one event loop.

    Args:
        concurrency: Requests in flight at most.
        requests_per_minute: None to learn it from replies, or go without.
        tokens_per_minute: Likewise.
        quota: What other processes take their share of, besides.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        quota: SharedQuota | None = None,
    ) -> None:
        self._reserve: Reserve | None = None
        self._concurrency = concurrency
        self._window = float(concurrency)
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._stopped = asyncio.Event()
        if quota is not None:
            self._reserve = Reserve(quota, self.sleep, self._stopped.is_set)
        configured = {"requests": requests_per_minute, "tokens": tokens_per_minute}
        self._rates = {name: _Rate(limit) for name, limit in configured.items() if limit}
        self._configured = frozenset(self._rates)
        self._pause = MIN_PAUSE_SECONDS
        self._resume_at = 0.0
        self._last_shrunk = 0.0
        self._refused_since: float | None = None

    @property
    def window(self) -> float:
        return self._window

    @property
    def drought_seconds(self) -> float:
        """How long refusals have gone on without a single success."""
        return 0.0 if self._refused_since is None else time.monotonic() - self._refused_since

    @asynccontextmanager
    async def turn(self, tokens: int, *, urgent: bool = False) -> AsyncIterator[Turn]:
        """Wait until a request of this size may go out, and hold its place meanwhile.

        Args:
            tokens: Of the request, estimated.
            urgent: Before all that are not: what is known of the server hangs on it.
        """
        await self._enter(self._urgent if urgent else self._waiting)
        try:
            asked = time.monotonic()
            await self._wait(tokens)
            ticket = await self._ticket(tokens)
            began = time.monotonic()
            turn = Turn(began, began - asked, ticket)
            try:
                yield turn
            finally:
                self._unsent(turn)
        finally:
            self._leave()

    async def go(self, turn: Turn, tokens: int) -> None:
        """To be awaited right before a request is sent: what was reserved for it may have lapsed.

        Args:
            turn: Of the request.
            tokens: Of the request, estimated.
        """
        while self._reserve is not None and turn.ticket is not None:
            if self._reserve.sent(turn.ticket):
                break
            self._unsent(turn)
            turn.ticket = await self._ticket(tokens)

    def over(self, turn: Turn) -> None:
        """To be told as soon as a request that was sent is answered, or given up."""
        if self._reserve is not None and turn.ticket is not None:
            self._reserve.over(turn.ticket)

    def _unsent(self, turn: Turn) -> None:
        ticket = turn.ticket
        if self._reserve is not None and ticket is not None and ticket.sent is None:
            turn.ticket = None
            self._reserve.give_back(ticket)

    async def _ticket(self, tokens: int) -> Ticket | None:
        if self._reserve is None:
            return None
        while True:
            ticket = await self._reserve.take(tokens)
            # Others may have been refused meanwhile.
            pause = self._resume_at - time.monotonic()
            if ticket is None or pause <= 0:
                return ticket
            self._reserve.give_back(ticket)
            await self.sleep(pause)

    def close(self) -> None:
        """Give back what was reserved and not used; blocks."""
        if self._reserve is not None:
            self._reserve.close()

    async def _enter(self, queue: deque[asyncio.Future[None]]) -> None:
        """In the order of asking: who comes as a place is given back does not take it."""
        place = asyncio.get_running_loop().create_future()
        queue.append(place)
        self._admit()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # given, and never to be used
                self._leave()
            raise

    def _leave(self) -> None:
        self._in_flight -= 1
        # Not at once: who leaves may have something urgent to ask next.
        asyncio.get_running_loop().call_soon(self._admit)

    def _admit(self) -> None:
        while self._in_flight < max(1, int(self._window)):
            queue = self._urgent or self._waiting
            if not queue:
                break
            place = queue.popleft()
            if not place.cancelled():
                self._in_flight += 1
                place.set_result(None)

    async def _wait(self, tokens: int) -> None:
        amounts = {"requests": 1, "tokens": tokens}
        waits = [rate.take(amounts[name]) for name, rate in self._rates.items()]
        start = time.monotonic() + max(waits, default=0.0)
        # Others may be refused meanwhile, which moves the moment to resume.
        while (pause := max(start, self._resume_at) - time.monotonic()) > 0:
            await self.sleep(pause)
            if self._stopped.is_set():
                return

    async def sleep(self, seconds: float) -> None:
        """Sleep, unless `stop` ends all waiting."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    def stop(self) -> None:
        """End all waiting: no further request is going to be sent."""
        self._stopped.set()

    def succeeded(self) -> None:
        self._window = min(self._concurrency, self._window + 1 / max(self._window, 1.0))
        self._pause = max(MIN_PAUSE_SECONDS, self._pause / 2)
        self._refused_since = None

    def throttled(self, turn: Turn, retry_after: float | None) -> None:
        """A request was refused for going too fast: everybody slows down."""
        now = time.monotonic()
        if self._refused_since is None:
            self._refused_since = now
        # What was under way together was refused for one reason: it counts once.
        if turn.began >= self._last_shrunk:
            self._last_shrunk = now
            self._window = max(1.0, self._window * BACKOFF)
            self._pause = min(MAX_PAUSE_SECONDS, self._pause * 2)
            if not retry_after:
                self._resume_at = max(
                    self._resume_at, now + self._pause * random.uniform(0.75, 1.25)
                )
        if retry_after:
            self._resume_at = max(self._resume_at, now + retry_after)

    def used(self, turn: Turn, estimated: int, tokens: int) -> None:
        """What a request really took; limits count it instead of the estimate."""
        if "tokens" in self._rates:
            self._rates["tokens"].take(tokens - estimated)
        if self._reserve is not None and turn.ticket is not None:
            self._reserve.billed(turn.ticket, estimated, tokens)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take over the limits that a reply states, where none are configured."""
        for name, header in _HEADERS.items():
            value = headers.get(header, "")
            if name in self._configured or not value.isdigit() or int(value) == 0:
                continue
            self._rates.setdefault(name, _Rate(int(value))).per_minute = int(value)


class _Rate:
    """A limit per minute, spent evenly after a burst, in the order of asking."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._spent_until = 0.0

    def take(self, amount: int) -> float:
        """Take an amount; returns the seconds until it may be used, if any.

        One that is larger than the burst goes when all before it is paid for; what comes after it
        waits the longer.
        """
        now, cost = time.monotonic(), amount * 60 / self.per_minute
        self._spent_until = max(self._spent_until, now) + cost
        return self._spent_until - max(BURST_SECONDS, cost) - now
