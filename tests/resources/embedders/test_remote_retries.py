"""What is tried again, how limits are kept, and when it is enough."""

from typing import Any

import numpy as np
import pytest

from resources.core.errors import ProviderError
from resources.embedders.packing import estimate_tokens
from tests.providers.behaviour import Quota, Request
from tests.providers.openai import OpenAIServer
from tests.resources.embedders.test_remote import TEXTS, expected, until_error

BATCHES = [(number, [f"{number} a", f"{number} b"]) for number in range(20)]
TRANSIENT = [500, 502, 503, 408, 529, "reset", "cut", "stall", "hang", "not_json", "broken_json"]


def paused(requests: list[Request]) -> float:
    """Seconds between the first answer and the next request."""
    assert requests[0].answered is not None
    return requests[1].arrived - requests[0].answered


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_fault_that_passes_is_tried_again(api, clock, connect, fault: Any):
    api.behaviour.fail_next(fault)
    reply = connect(api, timeout_seconds=60).embed(TEXTS, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, TEXTS))
    assert (reply.usage.requests, reply.usage.retries) == (2, 1)
    assert len(api.requests) == 2
    waited = api.requests[1].arrived - api.requests[0].arrived
    silence = 60 if fault in ("stall", "hang") else 0
    assert silence + 0.2 < waited < silence + 1
    assert api.texts_served == dict.fromkeys(TEXTS, 1)


def test_faults_among_many_requests_cost_only_themselves(api, connect):
    texts = [str(number) for number in range(120)]
    api.behaviour.latency = 0.01
    api.behaviour.fail_next(*[None, 500, None, "reset", None, 503, None, "not_json", None, 429] * 2)
    reply = connect(api, max_texts=2).embed(texts, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, texts))
    assert api.texts_served == dict.fromkeys(texts, 1)
    assert reply.usage.retries == len(api.requests) - 60 == 10


def test_retries_are_spread(api, clock, connect):
    """Requests that fail together do not come back together."""
    api.behaviour.fail_next(*[503] * 8)
    connect(api, max_texts=1).embed([str(number) for number in range(8)], input_type="document")
    back = sorted(request.arrived for request in api.requests[8:])
    assert len(back) == 8
    assert back[-1] - back[0] > 0.1


def test_a_fault_that_stays_ends_after_the_attempts(api, connect):
    api.behaviour.fault_when = lambda _: 500
    with pytest.raises(ProviderError, match=r"\(HTTP 500\); tried 3 times$"):
        connect(api, attempts=3).embed(TEXTS, input_type="document")
    assert [len(request.texts) for request in api.requests[:3]] == [5, 5, 5]
    assert {tuple(request.texts) for request in api.requests[3:]} == {("a",)}
    assert len(api.requests) <= 3 + 2 * 2, "OpenAI is asked for floats too"


def test_an_error_does_not_wait_for_those_that_pause(api, clock, connect):
    api.behaviour.retry_after, api.behaviour.retry_after_seconds = "seconds", 60
    others = lambda: sum(request.status == 503 for request in api.requests)  # noqa: E731
    api.behaviour.hold = lambda request: "key" in request.texts and others() < 2
    api.behaviour.fault_when = lambda request: 401 if "key" in request.texts else 503
    start = clock.now
    with pytest.raises(ProviderError, match="_API_KEY"):
        connect(api, max_texts=1).embed(["busy", "key", "also busy"], input_type="document")
    assert clock.now - start < 50, "it waited the 60 seconds of a pause"


# Refusals for speed.


@pytest.mark.parametrize("hint", ["seconds", "fraction", "date", "milliseconds"])
@pytest.mark.parametrize("fault", [429, 503])
def test_a_pause_that_the_provider_asks_for_is_kept(api, clock, connect, fault: int, hint: Any):
    seconds = 499.5 if hint in ("fraction", "milliseconds") else 499
    api.behaviour.retry_after, api.behaviour.retry_after_seconds = hint, seconds
    api.behaviour.fail_next(fault)
    reply = connect(api, patience_seconds=600).embed(TEXTS, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, TEXTS))
    # a date is read by the clock on the wall, which goes on meanwhile, and has whole seconds
    least = seconds - (100 if hint == "date" else 0)
    assert least <= paused(api.requests) < seconds + 1.1
    assert reply.usage.retries == 1
    if fault == 429:
        assert reply.usage.throttled_seconds > least - 0.1


def test_without_a_hint_a_refusal_for_speed_is_a_pause_of_ours(api, clock, connect):
    api.behaviour.fail_next(429, 429)
    reply = connect(api).embed(TEXTS, input_type="document")
    assert reply.usage.retries == 2
    assert [request.status for request in api.requests] == [429, 429, 200]
    assert 0.14 < paused(api.requests) < 0.26
    assert 0.29 < paused(api.requests[1:]) < 0.51


def test_refusals_for_speed_may_outnumber_attempts_and_failures(api, clock, connect):
    api.behaviour.retry_after, api.behaviour.retry_after_seconds = "milliseconds", 0.01
    api.behaviour.fail_next(*[429] * 30)
    embedder = connect(api, attempts=2, max_failures=2)
    assert embedder.embed(TEXTS, input_type="document").usage.retries == 30


@pytest.mark.parametrize(("hint", "requests"), [(None, 20), ("seconds", 1)])
def test_patience_ends_where_nothing_gets_through(api, clock, connect, hint: Any, requests: int):
    api.behaviour.retry_after, api.behaviour.retry_after_seconds = hint, 3600
    api.behaviour.fault_when = lambda _: 429
    start = clock.now
    with pytest.raises(ProviderError, match=r"nothing gets through for 60 seconds"):
        connect(api, patience_seconds=60).embed(TEXTS, input_type="document")
    assert clock.now - start < 60 + 16 * 1.25, "it was patient for longer than it was told"
    assert len(api.requests) <= requests


def test_patience_is_for_refusals_not_for_the_queue(api, clock, connect):
    """With a low limit requests wait longer for their turn than anybody refuses them."""
    api.behaviour.quota = Quota(tokens=30, window=1)
    texts = [f"{number:080d}" for number in range(8)]  # 20 tokens each
    embedder = connect(api, max_texts=1, patience_seconds=2.5, tokens_per_minute=10**7)
    reply = embedder.embed(texts, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, texts))


def test_no_credit_left_is_no_question_of_speed(openai_api: OpenAIServer, connect):
    openai_api.behaviour.fault_when = lambda _: "no_credit"
    with pytest.raises(ProviderError, match="the account has no credit left: You exceeded"):
        connect(openai_api).embed(TEXTS, input_type="document")
    assert len(openai_api.requests) == 1


# Limits.


def spent_evenly(requests: list[Request], amounts: list[float], per_minute: float) -> None:
    """No stretch holds more than a burst of six seconds beyond the limit."""
    rate, most = per_minute / 60, max(amounts)
    arrived = [request.arrived for request in requests]
    for first in range(len(requests)):
        for last in range(first, len(requests)):
            allowed = rate * (arrived[last] - arrived[first] + 6.01) + most
            assert sum(amounts[first : last + 1]) <= allowed


def test_a_limit_of_requests_is_kept(api, clock, connect):
    embedder = connect(api, max_texts=1, requests_per_minute=600)
    start = clock.now
    texts = [str(number) for number in range(80)]
    reply = embedder.embed(texts, input_type="document")
    assert 1.9 < clock.now - start < 2.1
    spent_evenly(api.requests, [1] * 80, 600)
    assert reply.usage.throttled_seconds > 1


def test_a_limit_of_tokens_counts_what_they_really_are(api, clock, connect):
    embedder = connect(api, max_texts=1, tokens_per_minute=6000)
    texts = [f"{number:0120d}" for number in range(27)]
    assert estimate_tokens(texts[0]) == 40
    start = clock.now
    embedder.embed(texts, input_type="document")
    tokens = [request.tokens for request in api.requests]
    assert sum(tokens) == 27 * 30
    # 810 tokens, 600 at once and 100 a second
    assert 1.9 < clock.now - start < 3
    spent_evenly(api.requests, tokens, 6000)


def test_a_request_beyond_the_burst_is_paid_for_in_full(api, clock, connect):
    # 300 tokens a request, 100 tokens a second, of which six seconds' worth go at once
    embedder = connect(api, max_texts=1, tokens_per_minute=6000, concurrency=4)
    start = clock.now
    embedder.embed([f"{number:01200d}" for number in range(3)], input_type="document")
    assert 2.9 < clock.now - start < 7.5


def test_openai_limits_are_learned_from_its_replies(openai_api: OpenAIServer, clock, connect):
    openai_api.behaviour.quota = Quota(requests=600, window=60)
    embedder = connect(openai_api, max_texts=1)
    embedder.embed(["first"], input_type="query")
    start = clock.now
    embedder.embed([str(number) for number in range(80)], input_type="document")
    assert 1.9 < clock.now - start < 2.2
    spent_evenly(openai_api.requests, [1] * 81, 600)
    assert openai_api.rate_limited == 0


def test_a_configured_limit_is_not_replaced(openai_api: OpenAIServer, clock, connect):
    openai_api.behaviour.quota = Quota(requests=600, window=60)
    embedder = connect(openai_api, max_texts=1, requests_per_minute=100_000)
    start = clock.now
    embedder.embed([str(number) for number in range(80)], input_type="document")
    assert clock.now - start < 0.1


def test_a_quota_of_tokens_without_hints_is_used_up(api, clock, connect, monkeypatch):
    """Guessed pauses leave little of it; what 429 refuses is embedded once all the same."""
    monkeypatch.setattr(api, "headers", dict)
    texts = [f"{number:040d}" for number in range(240)]
    a_second, total = 400, 240 * 10
    api.behaviour.quota = Quota(tokens=a_second, window=1)
    start = clock.now
    reply = connect(api, max_texts=2).embed(texts, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, texts))
    assert api.texts_served == dict.fromkeys(texts, 1)
    assert api.rate_limited
    # the bucket is full at the start
    assert clock.now - start < (total - a_second) / a_second / 0.85


# The circuit.


def failing_after(requests: int) -> Any:
    return lambda request: 503 if request.number >= requests else None


def test_failures_in_a_row_stop_the_run(api, connect):
    api.behaviour.latency = 0.02
    api.behaviour.fault_when = failing_after(6)
    embedder = connect(api, max_failures=5, attempts=50, concurrency=2)
    said = r"5 requests in a row failed, the last: .*\(HTTP 503\); the run stops, and the next one"
    with pytest.raises(ProviderError, match=said):
        list(embedder.embed_batches(BATCHES))
    assert sum(request.texts != ["a"] for request in api.requests) <= 6 + 5 + 2


def test_every_reply_before_the_error_is_handed_out(api, connect):
    api.behaviour.fault_when = failing_after(6)
    embedder = connect(api, max_failures=3, concurrency=1)
    finished, said = until_error(embedder.embed_batches(BATCHES))
    assert "3 requests in a row failed" in said
    for key, reply in finished.items():
        assert np.array_equal(reply.vectors, expected(api, BATCHES[key][1]))
        assert not reply.unfinished
    assert sorted(finished) == list(range(6))
    # The other in the queue goes out while one text at a time is asked for, to know what works.
    assert sum(len(request.texts) > 1 for request in api.requests) <= 6 + 3 + 1


def test_a_batch_that_is_half_done_says_what_is_missing(api, connect):
    api.behaviour.fault_when = failing_after(3)
    texts = [str(number) for number in range(10)]
    embedder = connect(api, max_failures=2, concurrency=1, max_texts=2)
    finished, said = until_error(
        embedder.embed_batches([("first", texts[:2]), ("half", texts[2:])])
    )
    assert "2 requests in a row failed" in said
    assert finished["first"].unfinished == frozenset()
    assert finished["half"].unfinished == {4, 5, 6, 7}
    assert np.array_equal(finished["half"].vectors[:4], expected(api, texts[2:6]))


def test_a_success_between_failures_keeps_the_circuit_closed(api, connect):
    api.behaviour.fail_next(*[503, 503, None] * 5)
    embedder = connect(api, max_failures=3, concurrency=1)
    assert len(dict(embedder.embed_batches(BATCHES[:5]))) == 5
