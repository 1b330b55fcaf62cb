import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from resources.embedders.pace import Pace, Turn


def in_a_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(work())


def turn() -> Turn:
    return Turn(time.monotonic(), 0.0)


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


def test_the_window_is_what_may_be_in_flight():
    async def work():
        pace = Pace(8)
        assert await requests(pace, 40, 0.002) == 8
        pace.throttled(turn(), 0.001)
        assert pace.window == 6
        assert await requests(pace, 40, 0.002) == 6

    in_a_loop(work)


def test_the_window_shrinks_by_a_quarter_and_never_below_one():
    pace = Pace(16)
    seen = []
    for _ in range(20):
        pace.throttled(turn(), None)
        seen.append(pace.window)
    assert seen[:3] == [12, 9, 6.75]
    assert seen[-1] == 1


def test_requests_that_were_under_way_together_shrink_it_once():
    pace, together = Pace(16), [turn() for _ in range(16)]
    for one in together:
        pace.throttled(one, None)
    assert pace.window == 12
    pace.throttled(turn(), None)
    assert pace.window == 9


def test_the_window_widens_by_one_per_window_of_successes_up_to_the_concurrency():
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


def test_pauses_double_and_halve_where_the_provider_gives_no_hint():
    def pause(pace: Pace) -> float:
        pace._resume_at = 0
        pace.throttled(turn(), None)
        return pace._resume_at - time.monotonic()

    pace = Pace(8)
    for nominal in (0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 16, 16):
        assert 0.74 * nominal < pause(pace) < 1.26 * nominal
    for _ in range(10):
        pace.succeeded()
    assert pause(pace) < 0.26


def test_everybody_waits_out_a_pause():
    async def work():
        pace = Pace(4)
        pace.throttled(turn(), 0.2)
        start = time.monotonic()
        async with pace.turn(1) as waited:
            pass
        assert time.monotonic() - start >= 0.19
        assert waited.waited == pytest.approx(0.2, abs=0.1)

    in_a_loop(work)


def test_a_drought_lasts_until_the_next_success():
    pace = Pace(4)
    assert pace.drought_seconds == 0
    pace.throttled(turn(), None)
    time.sleep(0.02)
    pace.throttled(turn(), None)
    assert pace.drought_seconds >= 0.02
    pace.succeeded()
    assert pace.drought_seconds == 0


def test_stopping_ends_all_waiting():
    async def work():
        pace = Pace(2, requests_per_minute=1)
        waiting = [asyncio.create_task(requests(pace, 4)), asyncio.create_task(pace.sleep(100))]
        await asyncio.sleep(0.01)
        pace.stop()
        await asyncio.wait_for(asyncio.gather(*waiting), 1)

    in_a_loop(work)


def test_a_rate_is_spent_in_a_burst_and_then_evenly():
    async def work():
        pace = Pace(50, requests_per_minute=600)
        start = time.monotonic()
        await requests(pace, 60)
        assert time.monotonic() - start < 0.3
        await requests(pace, 5)
        assert 0.45 < time.monotonic() - start < 1

    in_a_loop(work)


def test_what_was_estimated_too_high_is_given_back():
    async def work():
        pace = Pace(4, tokens_per_minute=6000)
        async with pace.turn(600):
            pace.used(600, 100)
        async with pace.turn(500) as second:
            pass
        assert second.waited < 0.05

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


def test_thousands_may_wait():
    async def work():
        start = time.monotonic()
        assert await requests(Pace(8), 5000) == 8
        assert time.monotonic() - start < 3

    in_a_loop(work)


def test_a_place_is_freed_by_whoever_is_cancelled():
    async def work():
        pace = Pace(1)
        hanging = asyncio.create_task(requests(pace, 3, 100))
        await asyncio.sleep(0.01)
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert await asyncio.wait_for(requests(pace, 3), 1) == 1

    in_a_loop(work)
