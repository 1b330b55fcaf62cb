"""OpenAI's server against the real SDK: what each feature does, what a fault looks like to it."""

import asyncio
import io
import json
from typing import Any

import numpy as np
import openai
import pytest

from tests.providers import fixtures
from tests.providers.behaviour import Behaviour, Quota, count_tokens
from tests.providers.openai import OpenAIServer, duration, openai_server
from tests.providers.test_servers import DAMAGE, PATIENT, TEXTS, patience, shape

openai_api = fixtures.openai_api  # not imported by name: every test has an argument of that name

SMALL = "text-embedding-3-small"


def openai_client(server: OpenAIServer, **settings: Any) -> openai.OpenAI:
    settings = {"api_key": server.behaviour.key, "timeout": PATIENT, "max_retries": 0} | settings
    return openai.OpenAI(base_url=server.url, **settings)


def openai_async(server: OpenAIServer, texts: list[str]) -> Any:
    async def ask() -> Any:
        async with openai.AsyncOpenAI(api_key=server.behaviour.key, base_url=server.url) as client:
            return await client.embeddings.create(input=texts, model=SMALL)

    return asyncio.run(ask())


def test_durations_are_written_as_openai_writes_them():
    assert [duration(value) for value in (0, 0.012, 1.5, 360)] == ["0ms", "12ms", "1.5s", "6m0s"]


def test_openai_embeds_sync_and_async(openai_api: OpenAIServer):
    wanted = [openai_api.vector(text) for text in TEXTS]
    for reply in (
        openai_client(openai_api).embeddings.create(input=TEXTS, model=SMALL),
        openai_async(openai_api, TEXTS),
    ):
        assert np.array_equal(np.array([row.embedding for row in reply.data], np.float32), wanted)
        assert reply.usage.prompt_tokens == sum(map(count_tokens, TEXTS))
    assert openai_api.requests[0].options["encoding_format"] == "base64"
    one = openai_client(openai_api).embeddings.create(
        input="text", model=SMALL, dimensions=64, encoding_format="float"
    )
    assert one.data[0].embedding == pytest.approx(openai_api.vector("text", width=64))


def test_openai_tells_its_rate_limits():
    with openai_server(Behaviour(quota=Quota(requests=10, tokens=100, window=600))) as server:
        raw = openai_client(server).embeddings.with_raw_response.create(input=TEXTS, model=SMALL)
        assert raw.headers["x-ratelimit-limit-requests"] == "10"
        assert raw.headers["x-ratelimit-remaining-tokens"] == "91"
        assert raw.headers["x-ratelimit-reset-tokens"].startswith(("53.", "54s"))


@pytest.mark.parametrize(
    ("texts", "options", "code", "message"),
    [
        (["a"] * 2049, {}, "array_above_max_length", "maximum length 2048"),
        (["a" * 32_000] * 38, {}, "max_tokens_per_request", "Requested 304000 tokens, max 300000"),
        (["a", "a" * 32_772], {}, None, r"input\[1\].*8192 tokens"),
        (["a", ""], {}, None, r"input\[1\].*empty string"),
        (["a"], {"dimensions": 4000}, None, "dimensions"),
        (["a"], {"model": "text-embedding-ada-002", "dimensions": 8}, None, "not support"),
    ],
)
def test_openai_refuses(
    openai_api: OpenAIServer, texts: Any, options: Any, code: Any, message: str
):
    client = openai_client(openai_api)
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        client.embeddings.create(**({"input": texts, "model": SMALL} | options))
    assert caught.value.code == code


def test_openai_refuses_a_wrong_key_and_an_unknown_model(openai_api: OpenAIServer):
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
        openai_client(openai_api, api_key="wrong").embeddings.create(input="a", model=SMALL)
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        openai_client(openai_api).embeddings.create(input="a", model="gpt-embed")
    with openai_server(models={"nomic-embed-text": 768}) as server:
        reply = openai_client(server).embeddings.create(input="a", model="nomic-embed-text")
        assert len(reply.data[0].embedding) == 768


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (403, openai.PermissionDeniedError),
        (408, openai.APIStatusError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (502, openai.InternalServerError),
        (503, openai.InternalServerError),
        (529, openai.InternalServerError),
        ("reset", openai.APIConnectionError),
        ("cut", openai.APIConnectionError),
        ("hang", openai.APITimeoutError),
        ("stall", openai.APITimeoutError),
        ("no_credit", openai.RateLimitError),
        # These three are no OpenAIError.
        ("empty", ValueError),
        ("not_json", AttributeError),
        ("broken_json", json.JSONDecodeError),
    ],
)
def test_openai_faults_as_exceptions(openai_api: OpenAIServer, fault: Any, kind: Any):
    openai_api.behaviour.fail_next(fault)
    client = openai_client(openai_api, timeout=patience(fault))
    with pytest.raises(Exception) as caught:  # noqa: PT011
        client.embeddings.create(input=TEXTS, model=SMALL)
    assert type(caught.value) is kind
    assert not openai_api.texts_served


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [*DAMAGE, ("not_unit", "3x[{0}]"), ("slow_body", "3x[{0}]"), ("reordered", "3x[{0}]")],
)
def test_openai_damaged_replies_pass_the_sdk(openai_api: OpenAIServer, fault: Any, wanted: str):
    openai_api.behaviour.fail_next(fault)
    client = openai_client(openai_api)
    reply = client.embeddings.create(input=TEXTS, model=SMALL)
    assert shape([row.embedding for row in reply.data]) == wanted.format(1536, 1535)
    if fault == "reordered":
        assert [row.index for row in reply.data] == [2, 1, 0]
    assert bool(openai_api.texts_served) == (fault in ("slow_body", "reordered"))


@pytest.mark.parametrize("form", ["milliseconds", "fraction", "seconds", "date"])
def test_openai_waits_as_long_as_it_is_told(form: Any):
    # The SDK's own wait is 0.375 to 0.5 s.
    behaviour = Behaviour(faults=[429], retry_after=form, retry_after_seconds=0.6)
    with openai_server(behaviour) as server:
        openai_client(server, max_retries=1).embeddings.create(input=TEXTS, model=SMALL)
        first, second = (request.arrived for request in server.requests)
        assert second - first > 0.59


def test_openai_waits_for_its_turn_but_not_for_more_than_two_minutes():
    behaviour = Behaviour(retry_after="milliseconds", retry_after_seconds=0.01)
    with openai_server(behaviour) as server:
        client = openai_client(server, max_retries=3)
        behaviour.fail_next(429, 429)
        client.embeddings.create(input=TEXTS, model=SMALL)
        assert [request.status for request in server.requests] == [429, 429, 200]
        behaviour.retry_after_seconds = 121.0
        behaviour.fail_next(429)
        with pytest.raises(openai.RateLimitError):
            client.embeddings.create(input=TEXTS, model=SMALL)


# OpenAI's batches.


def submit(server: OpenAIServer, *lines: dict[str, Any]) -> Any:
    client = openai_client(server)
    data = "\n".join(
        json.dumps({"method": "POST", "url": "/v1/embeddings"} | line) for line in lines
    )
    file = client.files.create(file=("in.jsonl", io.BytesIO(data.encode())), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/embeddings", completion_window="24h"
    )


def line(name: str, *texts: str) -> dict[str, Any]:
    return {"custom_id": name, "body": {"model": SMALL, "input": list(texts)}}


def outcomes(server: OpenAIServer, file_id: Any) -> dict[str, Any]:
    text = openai_client(server).files.content(file_id).text
    return {item["custom_id"]: item for item in map(json.loads, text.splitlines())}


def test_a_batch_runs_by_polls_and_keeps_errors_apart(openai_api: OpenAIServer):
    openai_api.behaviour.batch_line_faults = {"three": 500}
    batch = submit(openai_api, line("one", "a", "b"), line("two", ""), line("three", "c"))
    client, seen = openai_client(openai_api), [batch.status]
    while seen[-1] != "completed":
        batch = client.batches.retrieve(batch.id)
        seen.append(batch.status)
    assert seen == ["validating", "in_progress", "finalizing", "completed"]
    assert batch.request_counts.model_dump() == {"total": 3, "completed": 1, "failed": 2}
    body = outcomes(openai_api, batch.output_file_id)["one"]["response"]["body"]
    assert body["data"][1]["embedding"] == pytest.approx(openai_api.vector("b"))
    failed = outcomes(openai_api, batch.error_file_id)
    statuses = {name: item["response"]["status_code"] for name, item in failed.items()}
    assert statuses == {"two": 400, "three": 500}
    assert openai_api.texts_served == {"a": 1, "b": 1}


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_a_batch_that_ends_early_keeps_what_was_done(openai_api: OpenAIServer, end: str):
    openai_api.behaviour.batch_polls = 0
    batch = submit(openai_api, line("one", "a"), line("two", "b"))
    assert openai_api.batches.advance() == "in_progress"
    client = openai_client(openai_api)
    if end == "cancelled":
        assert client.batches.cancel(batch.id).status == "cancelling"
        openai_api.batches.advance()
    else:
        openai_api.batches.expire()
    batch = client.batches.retrieve(batch.id)
    assert batch.status == end
    assert list(outcomes(openai_api, batch.output_file_id)) == ["one"]
    assert outcomes(openai_api, batch.error_file_id)["two"]["error"]["code"] == f"batch_{end}"


def test_a_bad_batch_fails_as_a_whole_and_batches_are_listed(openai_api: OpenAIServer):
    batch = submit(openai_api, line("one", "a"), line("one", "b"))
    assert openai_api.batches.advance(to="completed") == "failed"
    batch = openai_client(openai_api).batches.retrieve(batch.id)
    assert [(error.code, error.line) for error in batch.errors.data] == [("duplicate_custom_id", 2)]
    ids = [submit(openai_api, line("one", "a")).id for _ in range(2)]
    listed = [item.id for item in openai_client(openai_api).batches.list(limit=1)]
    assert listed == [ids[1], ids[0], batch.id]
    openai_api.behaviour.fail_next(503, path="/batches")
    with pytest.raises(openai.InternalServerError):
        openai_client(openai_api).batches.retrieve(batch.id)
    with pytest.raises(openai.NotFoundError):
        openai_client(openai_api).files.content("file-nope")
