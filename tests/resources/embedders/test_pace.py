import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from resources.embedders.pace import Pace, Turn

InALoop = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]


@pytest.fixture
def in_a_loop(clock) -> InALoop:
    def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        with asyncio.Runner(loop_factory=clock.new_event_loop) as runner:
            return runner.run(work())

    return run


@pytest.fixture
def turn(clock) -> Callable[[], Turn]:
    return lambda: Turn(clock.now, 0.0)


async def requests(pace: Pace, count: int, seconds: float = 0.0) -> int:
    """Most that were in flight at once."""
    in_flight = most = 0

    async def one() -> None:
        nonlocal in_flight, most
        async with pace.turn(1):
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(seconds)
            in_flight -= 1

    await asyncio.gather(*(one() for _ in range(count)))
    return most


def test_the_window_is_what_may_be_in_flight(in_a_loop, turn):
    async def work():
        pace = Pace(8)
        assert await requests(pace, 40, 0.002) == 8
        pace.throttled(turn(), 0.001)
        assert pace.window == 6
        assert await requests(pace, 40, 0.002) == 6

    in_a_loop(work)


def test_turns_come_in_the_order_of_asking(in_a_loop):
    """Also to who asks again just as its own turn ends; who leaves the queue holds up nobody."""

    async def work():
        pace, turns = Pace(1), []

        async def one(name: str, times: int = 1) -> None:
            for _ in range(times):
                async with pace.turn(1):
                    turns.append(name)
                    await asyncio.sleep(0.001)

        first = asyncio.create_task(one("first", 2))
        others = [asyncio.create_task(one(f"other {number}")) for number in range(4)]
        await asyncio.sleep(0)
        others[1].cancel()
        await asyncio.gather(first, *others, return_exceptions=True)
        assert turns == ["first", "other 0", "other 2", "other 3", "first"]

    in_a_loop(work)


def test_what_is_urgent_goes_first(in_a_loop):
    async def work():
        pace, turns = Pace(1), []

        async def one(name: str, *, urgent: bool) -> None:
            async with pace.turn(1, urgent=urgent):
                turns.append(name)

        async with pace.turn(1):
            names = ["a", "b", "c", "d"]
            waiting = [asyncio.create_task(one(name, urgent=name in "bd")) for name in names]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert turns == ["b", "d", "a", "c"]

    in_a_loop(work)


def test_a_turn_that_is_given_to_who_is_gone_is_the_next_ones(in_a_loop):
    async def work():
        pace = Pace(1)
        async with pace.turn(1):
            gone = asyncio.create_task(requests(pace, 1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        gone.cancel()  # its place is given already, and it has not seen that yet
        await asyncio.gather(gone, return_exceptions=True)
        assert await asyncio.wait_for(requests(pace, 3), 60) == 1

    in_a_loop(work)


def test_the_window_shrinks_by_a_quarter_and_never_below_one(turn):
    pace = Pace(16)
    seen = []
    for _ in range(20):
        pace.throttled(turn(), None)
        seen.append(pace.window)
    assert seen[:3] == [12, 9, 6.75]
    assert seen[-1] == 1


def test_requests_that_were_under_way_together_shrink_it_once(clock, turn):
    pace, together = Pace(16), [turn() for _ in range(16)]
    clock.now += 1
    for one in together:
        pace.throttled(one, None)
    assert pace.window == 12
    pace.throttled(turn(), None)
    assert pace.window == 9


def test_the_window_widens_by_one_per_window_of_successes_up_to_the_concurrency(turn):
    pace = Pace(8)
    while pace.window > 2:
        pace.throttled(turn(), None)
    before = pace.window
    for _ in range(2):
        pace.succeeded()
    assert before + 0.9 < pace.window <= before + 1
    for _ in range(100):
        pace.succeeded()
    assert pace.window == 8


def test_pauses_double_and_halve_where_the_provider_gives_no_hint(clock, in_a_loop, turn):
    async def pause(pace: Pace) -> float:
        pace.throttled(turn(), None)
        async with pace.turn(1) as waited:
            return waited.waited

    async def work():
        pace = Pace(8)
        for nominal in (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 16, 16):
            assert 0.74 * nominal < await pause(pace) < 1.26 * nominal
        for _ in range(10):
            pace.succeeded()
        assert await pause(pace) < 0.26

    in_a_loop(work)


def test_everybody_waits_out_a_pause(clock, in_a_loop, turn):
    async def work():
        pace, start = Pace(4), clock.now
        pace.throttled(turn(), 0.2)

        async def one() -> float:
            async with pace.turn(1) as waited:
                return waited.waited

        assert await asyncio.gather(*(one() for _ in range(3))) == pytest.approx(
            [0.2] * 3, abs=1e-3
        )
        assert clock.now - start == pytest.approx(0.2, abs=1e-3)

    in_a_loop(work)


def test_a_drought_lasts_until_the_next_success(clock, turn):
    pace = Pace(4)
    assert pace.drought_seconds == 0
    pace.throttled(turn(), None)
    clock.now += 2
    pace.throttled(turn(), None)
    assert pace.drought_seconds == pytest.approx(2, abs=1e-3)
    pace.succeeded()
    assert pace.drought_seconds == 0


def test_stopping_ends_all_waiting(clock, in_a_loop):
    async def work():
        pace, start = Pace(2, requests_per_minute=1), clock.now
        waiting = [asyncio.create_task(requests(pace, 4)), asyncio.create_task(pace.sleep(100))]
        await asyncio.sleep(0.01)
        pace.stop()
        await asyncio.gather(*waiting)
        assert clock.now - start == pytest.approx(0.01, abs=1e-3)

    in_a_loop(work)


def test_a_rate_is_spent_in_a_burst_and_then_evenly(clock, in_a_loop):
    async def work():
        pace, start = Pace(50, requests_per_minute=600), clock.now
        await requests(pace, 60)
        assert clock.now - start < 1e-3
        for number in range(1, 6):
            await requests(pace, 1)
            assert clock.now - start == pytest.approx(number / 10, abs=1e-3)

    in_a_loop(work)


def test_what_was_estimated_too_high_is_given_back(in_a_loop):
    async def work():
        pace = Pace(4, tokens_per_minute=6000)
        async with pace.turn(600) as first:
            pace.used(first, 600, 100)
        async with pace.turn(500) as second:
            pass
        assert second.waited < 1e-3

    in_a_loop(work)


def test_limits_are_learned_unless_configured():
    headers = {"x-ratelimit-limit-requests": "600", "x-ratelimit-limit-tokens": "1000"}

    def limits(pace: Pace) -> dict[str, int]:
        return {name: rate.per_minute for name, rate in pace._rates.items()}

    pace = Pace(4, requests_per_minute=60)
    pace.learn(headers)
    assert limits(pace) == {"requests": 60, "tokens": 1000}
    pace.learn({"x-ratelimit-limit-tokens": "2000"})
    assert limits(pace) == {"requests": 60, "tokens": 2000}
    for senseless in ("0", "-1", "many", ""):
        pace.learn({"x-ratelimit-limit-tokens": senseless})
    assert limits(pace) == {"requests": 60, "tokens": 2000}


def test_thousands_may_wait(monkeypatch, in_a_loop):
    """Each looks a few times whether it is its turn, not at every end of another."""
    looks = 0

    class Counted(Pace):
        @property
        def _window(self) -> float:
            nonlocal looks
            looks += 1
            return self._wide

        @_window.setter
        def _window(self, value: float) -> None:
            self._wide = value

    async def work():
        assert await requests(Counted(8), 5000) == 8
        assert looks < 10 * 5000

    in_a_loop(work)


def test_a_place_is_freed_by_whoever_is_cancelled(clock, in_a_loop):
    async def work():
        pace, start = Pace(1), clock.now
        hanging = asyncio.create_task(requests(pace, 3, 100))
        await asyncio.sleep(0.01)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        assert await requests(pace, 3) == 1
        assert clock.now - start < 100

    in_a_loop(work)
