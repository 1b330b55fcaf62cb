"""Voyage's server against the real SDK: what each feature does, what a fault looks like to it."""

import asyncio
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import pytest
from voyageai import error as voyage_error
from voyageai.client import Client
from voyageai.client_async import AsyncClient

from tests.clock import Clock
from tests.providers import behaviour as provider_behaviour
from tests.providers import fixtures
from tests.providers.behaviour import Behaviour, Quota, count_tokens
from tests.providers.server import embedding
from tests.providers.voyage import VoyageServer, quantized, voyage_server

voyage_api = fixtures.voyage_api  # not imported by name: every test has an argument of that name

TEXTS = ["a marine", "a lion cub", "a luxury liner"]
LARGE = "voyage-4-large"
IMPATIENT = 2.0
"""Seconds; for faults that end with a timeout. Sound answers get time on a busy machine."""
PATIENT = 60.0


def patience(fault: Any) -> float:
    return IMPATIENT if fault in ("hang", "stall") else PATIENT


def voyage(server: VoyageServer, **settings: Any) -> Client:
    settings = {"api_key": server.behaviour.key, "timeout": PATIENT} | settings
    return Client(base_url=server.url, **settings)


def voyage_async(server: VoyageServer, texts: list[str], timeout: float = PATIENT) -> Any:
    client = AsyncClient(server.behaviour.key, timeout=timeout, base_url=server.url)
    return asyncio.run(client.embed(texts, model=LARGE))


# Vectors, tokens, quotas.


def test_a_vector_depends_on_family_text_and_width_only():
    long, short = embedding("voyage-4", "text", 1024), embedding("voyage-4", "text", 256)
    assert np.linalg.norm(long) == pytest.approx(1)
    assert short == pytest.approx(long[:256] / np.linalg.norm(long[:256]))
    assert abs(long @ embedding("voyage-4", "other", 1024)) < 0.2
    assert abs(long @ embedding("voyage-3.5", "text", 1024)) < 0.2


def test_tokens_are_characters_over_four_rounded_up():
    assert [count_tokens(text) for text in ("", "a", "abcd", "abcde")] == [0, 1, 1, 2]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(provider_behaviour, "time", clock)
    return clock


def test_a_quota_refills_and_names_the_limit_that_is_hit(clock: Clock):
    quota = Quota(requests=100, tokens=10, window=0.5)
    assert quota.admit(10) is None
    name, wait = quota.admit(4) or ("", 0)
    assert name == "tokens"
    assert wait == pytest.approx(0.2, abs=1e-3)
    clock.now += wait
    assert quota.admit(4) is None
    assert quota.admit(11) is not None  # larger than the window: never


def test_refused_requests_can_count_too():
    quota = Quota(requests=2, window=60, refused_count=True, tokens=1)
    assert quota.admit(1) is None
    assert quota.admit(1) is not None
    assert quota.state()["requests"][1] == 0


# Voyage.


def test_voyage_embeds_sync_and_async(voyage_api: VoyageServer):
    reply = voyage(voyage_api).embed(TEXTS, LARGE, input_type="query", output_dimension=256)
    wanted = [voyage_api.vector(text, width=256) for text in TEXTS]
    assert np.array_equal(np.array(reply.embeddings, np.float32), wanted)
    assert reply.total_tokens == sum(map(count_tokens, TEXTS))
    wanted = [voyage_api.vector(text) for text in TEXTS]
    assert np.array_equal(np.array(voyage_async(voyage_api, TEXTS).embeddings, np.float32), wanted)
    first, second = voyage_api.requests
    assert first.options["input_type"] == "query"
    assert second.options["encoding_format"] == "base64"
    assert "authorization" not in first.headers
    assert first.arrived <= first.answered <= second.arrived  # type: ignore[operator]
    assert voyage_api.texts_served == dict.fromkeys(TEXTS, 2)
    assert voyage_api.tokens_billed == 2 * reply.total_tokens


@pytest.mark.parametrize("dtype", ["float", "int8", "uint8", "binary", "ubinary"])
def test_voyage_quantizes(voyage_api: VoyageServer, dtype: str):
    reply = voyage(voyage_api).embed(["text"], LARGE, output_dtype=dtype, output_dimension=512)
    wanted = quantized(voyage_api.vector("text", width=512), dtype)
    assert reply.embeddings[0] == wanted.tolist()
    assert len(wanted) == (64 if "binary" in dtype else 512)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["a"] * 1001, {}, "batch size limit is 1000"),
        (["a" * 4000] * 121, {}, "120000. Your batch has 121000 tokens.*Please lower the number"),
        (["a", "b" * 128_004], {"truncation": False}, "example at index 1 .* use truncation"),
        (["a", ""], {}, "empty strings"),
        (["a"], {"output_dimension": 100}, "output_dimension"),
        (["a"], {"output_dtype": "float16"}, "output_dtype"),
        (["a"], {"input_type": "doc"}, "input_type"),
        (["a"], {"model": "voyage-9"}, "Model voyage-9 is not supported"),
    ],
)
def test_voyage_refuses(voyage_api: VoyageServer, texts: list[str], options: Any, message: str):
    with pytest.raises(voyage_error.InvalidRequestError, match=message):
        voyage(voyage_api).embed(texts, **({"model": LARGE} | options))
    assert not voyage_api.texts_billed


def test_voyage_truncates_unless_told_not_to(voyage_api: VoyageServer):
    assert voyage(voyage_api).embed(["b" * 200_000], LARGE).total_tokens == 32_000


def test_voyage_refuses_a_wrong_key(voyage_api: VoyageServer):
    with pytest.raises(voyage_error.AuthenticationError, match="key is invalid"):
        voyage(voyage_api, api_key="wrong").embed(TEXTS, LARGE)


@pytest.mark.parametrize(
    ("fault", "sync", "not_sync"),
    [
        (400, voyage_error.InvalidRequestError, None),
        (403, voyage_error.APIError, None),
        (408, voyage_error.APIError, None),
        (422, voyage_error.MalformedRequestError, None),
        (429, voyage_error.RateLimitError, None),
        (500, voyage_error.ServerError, None),
        (502, voyage_error.ServiceUnavailableError, None),
        (503, voyage_error.ServiceUnavailableError, None),
        (529, AttributeError, None),  # the SDK takes the error's body for a reply
        ("reset", voyage_error.APIConnectionError, None),
        ("hang", voyage_error.Timeout, None),
        ("stall", voyage_error.APIConnectionError, voyage_error.Timeout),
        ("cut", voyage_error.APIConnectionError, aiohttp.ClientPayloadError),
        ("not_json", voyage_error.APIError, None),
        ("broken_json", voyage_error.APIError, None),
        ("no_credit", voyage_error.APIError, None),
    ],
)
def test_voyage_faults_as_exceptions(
    voyage_api: VoyageServer, fault: Any, sync: Any, not_sync: Any
):
    voyage_api.behaviour.fail_next(fault, fault)
    with pytest.raises(Exception) as caught:  # noqa: PT011
        voyage(voyage_api, timeout=patience(fault)).embed(TEXTS, LARGE)
    assert type(caught.value) is sync
    with pytest.raises(not_sync or sync):
        voyage_async(voyage_api, TEXTS, patience(fault))
    assert not voyage_api.texts_served
    assert len(voyage(voyage_api).embed(TEXTS, LARGE).embeddings) == 3


def shape(vectors: Sequence[Sequence[float]]) -> str:
    widths, array = {len(row) for row in vectors}, np.array([row[:8] for row in vectors])
    return f"{len(vectors)}x{sorted(widths)} {'nan' if np.isnan(array).any() else ''}".strip()


DAMAGE = [
    ("short", "2x[{0}]"),
    ("nan", "3x[{0}] nan"),
    ("wrong_width", "3x[{1}]"),
    ("ragged", "3x[{1}, {0}]"),
]


@pytest.mark.parametrize(("fault", "wanted"), [*DAMAGE, ("empty", "0x[]")])
def test_voyage_damaged_replies_pass_the_sdk(voyage_api: VoyageServer, fault: Any, wanted: str):
    voyage_api.behaviour.fail_next(fault)
    vectors = voyage(voyage_api).embed(TEXTS, LARGE).embeddings
    assert shape(vectors) == wanted.format(1024, 1023)
    assert voyage_api.texts_billed == dict.fromkeys(TEXTS, 1)
    assert not voyage_api.texts_served


def test_voyage_reordered_rows_reach_the_caller_in_the_wrong_order(voyage_api: VoyageServer):
    voyage_api.behaviour.fail_next("reordered", "not_unit")
    vectors = np.array(voyage(voyage_api).embed(TEXTS, LARGE).embeddings, np.float32)
    # The SDK throws the index away.
    assert np.array_equal(vectors, [voyage_api.vector(text) for text in reversed(TEXTS)])
    vectors = np.array(voyage(voyage_api).embed(TEXTS, LARGE).embeddings)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 3])


def test_voyage_bounds_the_whole_answer_in_the_async_client(voyage_api: VoyageServer):
    voyage_api.behaviour.fail_next("drip")
    with pytest.raises(voyage_error.Timeout):
        voyage_async(voyage_api, TEXTS, IMPATIENT)


def test_voyage_max_retries_counts_tries():
    with voyage_server(Behaviour(faults=[503, None, 500])) as server:
        client = voyage(server, max_retries=2)
        client.embed(TEXTS, LARGE)
        assert [request.status for request in server.requests] == [503, 200]
        with pytest.raises(voyage_error.ServerError):
            client.embed(TEXTS, LARGE)
        assert len(server.requests) == 3


def test_voyage_quota_with_and_without_retry_after(clock: Clock):
    quota = Quota(tokens=30, window=2)
    with voyage_server(Behaviour(quota=quota)) as server:
        client = voyage(server)
        client.embed(["a" * 120], LARGE)
        with pytest.raises(voyage_error.RateLimitError) as caught:
            client.embed(["a" * 40], LARGE)
        assert "retry-after" not in caught.value.headers
        server.behaviour.retry_after = "fraction"
        with pytest.raises(voyage_error.RateLimitError) as caught:
            client.embed(["a" * 40], LARGE)
        clock.now += float(caught.value.headers["retry-after"])
        client.embed(["a" * 40], LARGE)
        assert server.rate_limited == 2


def test_what_is_half_sent_is_not_under_way():
    """A process that is stopped in the middle of sending never sends the rest."""
    with voyage_server() as server:
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port)) as client:
            client.sendall(head + b'{"input"')
            while not server.requests:
                time.sleep(0.001)
            assert server.in_flight == 0
            voyage(server).embed(["a marine"], LARGE)
        while server.in_flight:  # a client has its answer before the server is through with it
            time.sleep(0.001)
        assert server.in_flight == 0
        assert server.max_concurrency == 1
        assert server.texts_billed == {"a marine": 1}


def test_poison_latency_concurrency_and_clients_that_leave():
    behaviour = Behaviour(poison=["virus"])
    with voyage_server(behaviour) as server:
        with pytest.raises(voyage_error.InvalidRequestError, match="rejected"):
            voyage(server).embed([*TEXTS, "a virus within"], LARGE)
        behaviour.hold = lambda _: server.max_concurrency < 4
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda text: voyage(server).embed([text], LARGE), "abcd"))
        assert server.max_concurrency == 4
        behaviour.latency = lambda request: 600.0 if "slow" in request.texts else 0.0
        with pytest.raises(voyage_error.Timeout):
            voyage(server, timeout=IMPATIENT).embed(["slow"], LARGE)
        behaviour.fault_when = lambda request: 503 if "down" in request.texts else None
        with pytest.raises(voyage_error.ServiceUnavailableError):
            voyage(server).embed(["down"], LARGE)
        assert [request.abandoned for request in server.requests[-2:]] == [True, False]
        assert server.texts_billed == dict.fromkeys("abcd", 1)
