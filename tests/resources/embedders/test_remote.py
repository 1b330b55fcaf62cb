"""Voyage and OpenAI through their real SDKs, against servers that speak their protocols."""

import gc
import threading
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from resources.core.errors import ConfigurationError, ProviderError
from resources.embedders.base import Embeddings
from resources.embedders.packing import estimate_tokens
from tests.providers.behaviour import count_tokens
from tests.providers.openai import OpenAIServer
from tests.providers.voyage import VoyageServer

TEXTS = [f"{name} meets a lion cub on Pandora" for name in ("Ann", "Bob", "Cem", "Dag", "Eve")]


def expected(server: Any, texts: list[str], width: int = 256, **options: Any) -> np.ndarray:
    return np.array([server.vector(text, width=width, **options) for text in texts])


def until_error(replies: Iterable[tuple[Any, Embeddings]]) -> tuple[dict[Any, Embeddings], str]:
    """What is handed out, and the error after it."""
    finished = {}
    try:
        for key, reply in replies:
            finished[key] = reply  # noqa: PERF403  (an error would take a comprehension's away)
    except ProviderError as error:
        return finished, str(error)
    pytest.fail("there was no error")


def request_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.endswith("-requests")]


def test_vectors_are_right_and_in_order(api, connect):
    reply = connect(api).embed(TEXTS, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, TEXTS))
    assert reply.vectors.dtype == np.float32
    assert reply.usage.tokens == sum(map(count_tokens, TEXTS))
    assert (reply.usage.requests, reply.usage.retries) == (1, 0)
    assert not reply.refused
    assert not reply.unfinished


def test_the_order_is_kept_by_requests_that_finish_in_another(api, connect):
    texts = [f"text {number}" for number in range(60)]
    requests = len(texts) // 4

    def hold(request: Any) -> bool:
        """Every slot is filled, and the first to be asked is the last to be answered."""
        answered = sum(call.served for call in api.requests)
        return api.max_concurrency < 8 or ("text 0" in request.texts and answered < requests - 1)

    api.behaviour.hold = hold
    reply = connect(api, max_texts=4).embed(texts, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, texts))
    assert api.max_concurrency == 8
    assert api.texts_served == dict.fromkeys(texts, 1)


def test_requests_keep_to_both_limits_and_nothing_is_asked_twice(api, connect):
    texts = [f"{number:02d} " + "word " * (number % 7) for number in range(40)]
    embedder = connect(api, max_texts=6, max_tokens=40, concurrency=1)
    reply = embedder.embed(texts, input_type="document")
    assert np.array_equal(reply.vectors, expected(api, texts))
    assert [text for request in api.requests for text in request.texts] == texts
    assert all(len(request.texts) <= 6 for request in api.requests)
    assert all(sum(map(estimate_tokens, request.texts)) <= 40 for request in api.requests)
    assert reply.usage.requests == len(api.requests) > 40 / 6


def test_the_defaults_keep_within_the_providers_limits(api, connect):
    """One text more than a request may hold, and more tokens than one may hold."""
    texts = [f"{number:05d}{'x' * 600}" for number in range(2049)]
    reply = connect(api).embed(texts, input_type="document")
    assert len(reply.vectors) == 2049
    assert {request.status for request in api.requests} == {200}
    assert np.array_equal(reply.vectors[-1:], expected(api, texts[-1:]))


@pytest.mark.parametrize("input_type", ["document", "query"])
def test_voyage_is_told_the_input_type_and_never_to_truncate(voyage_api, connect, input_type):
    connect(voyage_api, dimensions=512).embed(TEXTS, input_type=input_type)
    options = voyage_api.requests[0].options
    assert options["input_type"] == input_type
    assert options["truncation"] is False
    assert options["output_dimension"] == 512
    assert options["model"] == "voyage-4-large"


def test_models_of_the_voyage_4_family_share_a_space(voyage_api: VoyageServer, connect):
    large, lite = connect(voyage_api), connect(voyage_api, model="voyage-4-lite")
    assert large.space == lite.space
    vectors = lite.embed(TEXTS, input_type="query").vectors
    assert np.array_equal(vectors, large.embed(TEXTS, input_type="document").vectors)
    assert [request.model for request in voyage_api.requests] == ["voyage-4-lite", "voyage-4-large"]


def test_openai_puts_prompts_before_texts(openai_api: OpenAIServer, connect):
    embedder = connect(openai_api, document_prompt="passage: ", query_prompt="query: ")
    embedder.embed(["a"], input_type="document")
    embedder.embed(["a"], input_type="query")
    assert [request.texts for request in openai_api.requests] == [["passage: a"], ["query: a"]]


def test_openai_sends_dimensions_only_where_they_are_fewer(openai_api: OpenAIServer, connect):
    for width in (256, 1536):
        reply = connect(openai_api, dimensions=width).embed(TEXTS, input_type="document")
        assert np.array_equal(reply.vectors, expected(openai_api, TEXTS, width))
    sent = [request.options.get("dimensions") for request in openai_api.requests]
    assert sent == [256, None]


def test_openai_needs_the_width_of_an_unknown_model(openai_api: OpenAIServer, connect):
    with pytest.raises(ConfigurationError, match="say it with `dimensions`"):
        connect(openai_api, model="nomic-embed-text", dimensions=None)


def test_rows_that_come_as_numbers_are_read_too(openai_api: OpenAIServer, connect, monkeypatch):
    """Some servers that are compatible with OpenAI's know no base64."""
    body = openai_api.body

    def with_numbers(request: Any, rows: Any) -> dict[str, Any]:
        request.options["encoding_format"] = "float"
        return body(request, rows)

    monkeypatch.setattr(openai_api, "body", with_numbers)
    reply = connect(openai_api).embed(TEXTS, input_type="document")
    assert np.array_equal(reply.vectors, expected(openai_api, TEXTS))


def test_no_texts_are_no_vectors_and_no_request(api, connect):
    reply = connect(api).embed([], input_type="document")
    assert reply.vectors.shape == (0, 256)
    assert not api.requests


def test_batches_keep_their_keys_and_each_counts_its_own(api, connect):
    batches = {f"batch {n}": [f"{n}/{row}" for row in range(n % 5)] for n in range(30)}
    api.behaviour.latency = lambda request: 0.1 if "7/0" in request.texts else 0.01
    replies = dict(connect(api, max_texts=2).embed_batches(batches.items()))
    assert replies.keys() == batches.keys()
    for key, texts in batches.items():
        assert np.array_equal(replies[key].vectors, expected(api, texts).reshape(-1, 256))
        assert replies[key].usage.requests == -(-len(texts) // 2)
        assert replies[key].usage.tokens == sum(map(count_tokens, texts))
    assert sum(reply.usage.requests for reply in replies.values()) == len(api.requests)


def test_batches_are_taken_as_they_are_needed(api, connect):
    taken = 0

    def batches() -> Any:
        nonlocal taken
        for taken in range(1, 101):
            yield taken, [str(taken)]

    replies = connect(api, concurrency=2).embed_batches(batches())
    next(replies)
    assert taken <= 6
    replies.close()


def test_opening_asks_nothing_and_closing_leaves_nothing(api, connect):
    gc.collect()  # what others have left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        embedder = connect(api)
        assert not api.calls
        assert not request_threads()
        list(embedder.embed_batches([(0, TEXTS)]))
        assert len(embedder.embed(["a query"], input_type="query").vectors) == 1
        assert len(request_threads()) == 1
        embedder.close()
        embedder.close()
        assert not request_threads()
        del embedder
        gc.collect()
    assert [str(warning.message) for warning in caught if "nclosed" in str(warning.message)] == []


def test_closing_does_not_wait_for_what_is_under_way(api, connect):
    api.behaviour.fault_when = lambda request: "hang" if "1" in request.texts else None
    embedder = connect(api, timeout_seconds=3600)
    replies = embedder.embed_batches((number, [str(number)]) for number in range(20))
    next(replies)
    replies.close()
    embedder.close()  # it would wait for an hour
    assert not request_threads()


def test_a_query_that_is_refused_is_an_error(api, connect):
    """No vector would mean nothing; a search must not go on with it."""
    api.behaviour.poison = ["virus"]
    embedder = connect(api)
    with pytest.raises(ProviderError, match="refuses the query: The input was rejected"):
        embedder.embed(["a virus"], input_type="query")
    assert len(embedder.embed(["a cure"], input_type="query").vectors) == 1


def test_texts_are_told_as_their_requests_return(api, connect):
    embedder = connect(api, max_texts=3)
    told: list[int] = []
    embedder.progressed = told.append
    replies = embedder.embed_batches([("a", [f"text {n}" for n in range(10)])])
    assert len(dict(replies)["a"].vectors) == 10
    assert sorted(told) == [1, 3, 3, 3]
