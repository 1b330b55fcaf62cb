"""Voyage AI's rerankers, through the SDK and a real socket."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.core.errors import ConfigurationError, ProviderError
from resources.embedders.voyage import VoyageProvider
from resources.rerankers.base import TextReranker
from resources.rerankers.resource import RerankResource
from resources.rerankers.voyage import VoyageReranking
from tests.providers.reranking import MAX_TEXTS, REQUEST_TOKENS, relevance
from tests.providers.voyage import VoyageServer

QUERY = "a slow puncture of my tyre"
TEXTS = ["how to patch a tyre", "the oven is cold", "a slow puncture", "rain"]
BEST_FIRST = sorted(range(4), key=lambda at: -relevance(QUERY, TEXTS[at]))


class Counter:
    """A meter that writes down what it is told."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def add(self, **request: Any) -> None:
        self.requests.append(request)

    @property
    def tokens(self) -> list[int | None]:
        return [request["tokens"] for request in self.requests]


Connect = Callable[..., TextReranker]


@pytest.fixture
def meter() -> Counter:
    return Counter()


@pytest.fixture
def connect(voyage_api: VoyageServer, meter: Counter) -> Iterator[Connect]:
    with ExitStack() as stack:

        def to(**settings: Any) -> TextReranker:
            api = {"api_key": voyage_api.behaviour.key, "base_url": voyage_api.url}
            resource = RerankResource(provider=VoyageReranking(**(api | settings)))
            reranker = resource.open(meter=meter)
            assert isinstance(reranker, TextReranker)
            stack.callback(reranker.close)
            return reranker

        yield to


def test_the_texts_come_back_in_the_models_order(voyage_api, connect, meter):
    ranking = connect(model="rerank-2.5-lite").rerank(QUERY, [TEXTS[0], None, *TEXTS[1:], " "])
    expected = [relevance(QUERY, text) for text in TEXTS]
    assert ranking.scores == (expected[0], None, *expected[1:], None)
    assert ranking.order() == [[0, 2, 3, 4][at] for at in BEST_FIRST] + [1, 5]
    (call,) = voyage_api.calls
    assert call.path == "/rerank"
    assert call.texts == TEXTS
    assert call.options == {"query": QUERY, "model": "rerank-2.5-lite", "truncation": True}
    assert ranking.tokens == call.tokens > 0
    assert meter.requests == [
        {"texts": 4, "tokens": call.tokens, "estimate": meter.requests[0]["estimate"]}
    ]
    assert meter.requests[0]["estimate"] >= call.tokens
    assert not ranking.notes


def test_nothing_to_read_sends_nothing(voyage_api, connect):
    reranker = connect()
    assert reranker.rerank(QUERY, []).order() == []
    assert reranker.rerank(QUERY, [None, ""]).order() == [0, 1]
    assert voyage_api.calls == []
    assert reranker.rerank(QUERY, ["alone"]).order() == [0]


FAULTS = {
    "short": "it returned 3 scores for 4 texts",
    "long": "it returned 5 scores for 4 texts",
    "empty": "it returned 0 scores for 4 texts",
    "duplicate_index": "it names with its scores not each text once",
    "from_one": "it names with its scores not each text once",
    "from_the_end": "it names with its scores not each text once",
    "no_index": "it names with its scores not each text once",
    "broken_json": r"the reply cannot be read \(JSONDecodeError\)",
    "not_json": r"Please sign in to the corporate proxy \(HTTP 200\)",
    "html_502": r"Please sign in to the corporate proxy \(HTTP 502\)",
    "error_200": r"No endpoint is free \(HTTP 200\)",
    "cut": r"the reply cannot be read \(ClientPayloadError\)",
    "reset": "Error communicating with Voyage",
    500: r"Scripted fault 500 \(HTTP 500\)",
    503: r"Scripted fault 503 \(HTTP 503\)",
}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_what_fails_once_is_asked_again_and_for_ever_is_an_error(voyage_api, connect, fault):
    voyage_api.behaviour.fail_next(fault, path="/rerank")
    assert connect().rerank(QUERY, TEXTS).order() == BEST_FIRST
    assert len(voyage_api.calls) == 2
    voyage_api.behaviour.fault_when = lambda _: fault
    with pytest.raises(ProviderError, match=FAULTS[fault]) as raised:
        connect(attempts=2).rerank(QUERY, TEXTS)
    assert str(raised.value).startswith("voyage reranker rerank-2.5: ")
    assert str(raised.value).endswith("; search again, or without `rerank`")
    assert "\n" not in str(raised.value)
    assert len(voyage_api.calls) == 4


def test_what_is_billed_is_counted_whatever_becomes_of_it(voyage_api, connect, meter):
    voyage_api.behaviour.fail_next("short", 503, "cut", None, path="/rerank")
    ranking = connect(attempts=4).rerank(QUERY, TEXTS)
    tokens = ranking.tokens
    assert meter.tokens == [tokens, None, tokens], "a 503 costs nothing, a cut reply nobody knows"
    voyage_api.behaviour.fail_next("no_usage", path="/rerank")
    assert connect().rerank(QUERY, TEXTS).tokens is None
    assert meter.tokens[-1] is None


def test_a_server_that_is_not_there_bills_nothing(voyage_api, connect, meter):
    reranker = connect(base_url="http://127.0.0.1:9/v1", attempts=2)
    with pytest.raises(ProviderError, match="Error communicating with Voyage"):
        reranker.rerank(QUERY, TEXTS)
    assert meter.requests == []


def test_a_score_that_is_no_number_costs_no_other(voyage_api, connect):
    voyage_api.behaviour.fail_next("nan", path="/rerank")
    ranking = connect().rerank(QUERY, TEXTS)
    (lost,) = [at for at, score in enumerate(ranking.scores) if score is None]
    assert ranking.order() == BEST_FIRST
    assert lost == BEST_FIRST[-1]
    assert "gave 1 of 4 texts no score" in ranking.notes[0]
    voyage_api.behaviour.fail_next("nulls", path="/rerank")
    with pytest.raises(ProviderError, match="gave none of 4 texts a score"):
        connect().rerank(QUERY, TEXTS)


def test_a_constant_score_is_noticed_and_the_first_order_kept(voyage_api, connect):
    voyage_api.behaviour.fail_next("constant", path="/rerank")
    ranking = connect().rerank(QUERY, TEXTS)
    assert ranking.flat
    assert ranking.order() == [0, 1, 2, 3]
    assert "gave all 4 texts the score 0.5987" in ranking.notes[0]


def test_too_many_requests_are_waited_out_as_the_server_says(voyage_api, connect):
    voyage_api.behaviour.retry_after = "fraction"
    voyage_api.behaviour.retry_after_seconds = 0.3
    voyage_api.behaviour.fail_next(429, 429, path="/rerank")
    assert connect(attempts=1).rerank(QUERY, TEXTS).order() == BEST_FIRST
    first, second, third = voyage_api.calls
    assert second.arrived - first.arrived >= 0.3
    assert third.arrived - second.arrived >= 0.3


def test_patience_ends(voyage_api, connect):
    voyage_api.behaviour.retry_after = "seconds"
    voyage_api.behaviour.retry_after_seconds = 60
    voyage_api.behaviour.fault_when = lambda _: 429
    start = time.monotonic()
    with pytest.raises(ProviderError, match=r"exceeded your rate limit.*\(HTTP 429\)"):
        connect(patience_seconds=20).rerank(QUERY, TEXTS)
    assert time.monotonic() - start < 20, "nobody waits for what will not come"
    assert len(voyage_api.calls) == 1


@pytest.mark.parametrize("fault", ["hang", "drip", "stall"])
def test_no_answer_in_time(voyage_api, connect, meter, fault):
    voyage_api.behaviour.fault_when = lambda _: fault
    with pytest.raises(ProviderError, match=r"no answer within 2 seconds"):
        connect(timeout_seconds=2, attempts=5).rerank(QUERY, TEXTS)
    assert len(voyage_api.calls) == 2, "each costs the whole time-out"
    assert meter.tokens == [None, None]


def test_a_refused_key_is_said_and_not_shown(voyage_api, connect):
    with pytest.raises(ProviderError) as raised:
        connect(api_key="sekret-123").rerank(QUERY, TEXTS)
    assert "it refuses the API key (401): set VOYAGE_API_KEY to a valid one" in str(raised.value)
    assert "sekret" not in str(raised.value)
    assert len(voyage_api.calls) == 1


def test_a_model_that_does_not_exist(voyage_api, connect):
    with pytest.raises(ProviderError, match=r"Model rerank-9 is not supported"):
        connect(model="rerank-9").rerank(QUERY, ["one"])


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.integers(1, 40), st.sets(st.integers(0, 39), max_size=2))
def test_a_text_that_is_refused_costs_no_other(voyage_api, connect, count, bad):
    bad = {at for at in bad if at < count}
    voyage_api.behaviour.poison = ["poison"]
    texts = [f"poison {at}" if at in bad else f"tyre {'x' * at}" for at in range(count)]
    reranker = connect()
    if len(bad) == count:
        with pytest.raises(ProviderError, match=r"The input was rejected \(HTTP 400\)"):
            reranker.rerank(QUERY, texts)
        return
    ranking = reranker.rerank(QUERY, texts)
    for at, text in enumerate(texts):
        assert ranking.scores[at] == (None if at in bad else relevance(QUERY, text))
    assert set(ranking.order()[count - len(bad) :]) == bad
    assert len(ranking.notes) == bool(bad)
    if bad:
        assert "(The input was rejected (HTTP 400)): they stand last" in ranking.notes[0]


def test_a_query_that_is_refused_ends_it_soon(voyage_api, connect):
    voyage_api.behaviour.poison = ["puncture"]
    with pytest.raises(ProviderError, match="refuses one text after another: The input was"):
        connect().rerank(QUERY, [f"text {at}" for at in range(1000)])
    assert len(voyage_api.calls) < 50


def test_requests_stay_within_the_models_limits(voyage_api, connect):
    voyage_api.behaviour.characters_per_token = 3.0  # as it is estimated
    texts = [f"tyre {at} " + "word " * 600 for at in range(MAX_TEXTS)]
    ranking = connect().rerank(QUERY, texts)
    assert len(voyage_api.calls) == 2
    assert all(call.tokens <= REQUEST_TOKENS for call in voyage_api.calls)
    assert ranking.tokens == sum(call.tokens for call in voyage_api.calls)
    assert ranking.scores == tuple(relevance(QUERY, text) for text in texts)
    # An estimate that was too low: refused as a whole, and split.
    voyage_api.behaviour.characters_per_token = 2.0
    assert connect().rerank(QUERY, texts).scores == ranking.scores
    few = connect(max_texts=3).rerank(QUERY, texts[:8])
    assert few.scores == ranking.scores[:8]
    assert [len(call.texts) for call in voyage_api.calls[-3:]].count(3) == 2


def test_a_text_too_long_is_cut_or_stands_last(voyage_api, connect):
    texts = [TEXTS[2], "tyre " * 40_000]
    assert None not in connect().rerank(QUERY, texts).scores
    ranking = connect(truncate=False).rerank(QUERY, texts)
    assert ranking.scores[1] is None
    assert "have more than 32000 tokens" in ranking.notes[0]


def test_many_threads_share_one_connection_pool(voyage_api, connect):
    voyage_api.behaviour.latency = 0.05
    reranker = connect()
    queries = [f"{QUERY} {at}" for at in range(24)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda query: reranker.rerank(query, TEXTS).scores, queries))
    assert found == [tuple(relevance(query, text) for text in TEXTS) for query in queries]
    reranker.close()
    reranker.close()
    assert reranker.rerank(QUERY, TEXTS).order() == BEST_FIRST, "opened again by the next search"


def test_the_price_and_the_limits_are_the_catalogues():
    facts = VoyageReranking(model="rerank-2.5", api_key="k").facts()
    assert facts.cost_usd(1_000_000) == pytest.approx(0.05)
    assert facts.paid
    with pytest.raises(ConfigurationError, match="voyage-4 embeds, and does not rerank"):
        VoyageReranking(model="voyage-4", api_key="k").facts()
    with pytest.raises(ConfigurationError, match=r"rerank-2\.5 reranks, and does not embed"):
        VoyageProvider(model="rerank-2.5", api_key="k").space()
    unknown = VoyageReranking(model="rerank-3", api_key="k").facts()
    assert unknown.cost_usd(5) is None
    assert unknown.paid, "what has no known price is not free"


def test_the_real_service():
    key = os.environ.get("VOYAGE_API_KEY")
    if not key:
        pytest.skip("VOYAGE_API_KEY is not set: nothing was asked of the real voyage service")
    reranker = RerankResource(provider=VoyageReranking(api_key=key)).open()
    assert isinstance(reranker, TextReranker)
    try:
        ranking = reranker.rerank(QUERY, [TEXTS[1], None, TEXTS[2], TEXTS[3]])
    finally:
        reranker.close()
    assert ranking.order()[0] == 2
    assert ranking.order()[-1] == 1
    assert not ranking.flat
    assert ranking.tokens
