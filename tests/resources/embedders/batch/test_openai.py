"""OpenAI's batch jobs through the real SDK: what is sent, collected, and when nothing is lost."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from resources.core.errors import ConfigurationError, ProviderError
from resources.embedders.base import Embeddings, Refusal
from resources.embedders.batch.jobs import Job
from resources.embedders.batch.lane import FORGOTTEN_AFTER
from resources.embedders.batch.openai import OpenAIBatchAPI
from resources.embedders.failures import RequestFailed
from resources.embedders.openai import OpenAIProvider
from resources.embedders.resource import EmbedderResource
from tests.providers.behaviour import count_tokens
from tests.providers.openai import OpenAIServer

ONE = {"one": [f"{name} meets a lion cub" for name in ("Ann", "Bob", "Cem")]}
TWO = ONE | {"two": ["a marine", "a luxury liner"]}


class MemoryJobs:
    """What the registry does in MongoDB."""

    pipeline = "films"

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def find(self, space: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.space_id == space]

    def record(self, job: Job) -> None:
        self.jobs[job.name] = job

    def remove(self, name: str) -> None:
        self.jobs.pop(name, None)


class Desk:
    """Runs one after another against one server and one store of jobs."""

    def __init__(self, api: OpenAIServer, stack: ExitStack) -> None:
        self.api, self._stack = api, stack
        self.jobs = MemoryJobs()
        self.log: list[str] = []

    def open(self, **settings: Any) -> Any:
        settings = {
            "api_key": self.api.behaviour.key,
            "base_url": self.api.url,
            "dimensions": 64,
            "timeout_seconds": 60,
            "mode": "batch",
            "poll_seconds": 0.01,
        } | settings
        resource = EmbedderResource(provider=OpenAIProvider(**settings))
        return self._stack.enter_context(resource.open(self.jobs, self.log.append))

    def run(self, batches: dict[str, list[str]], **settings: Any) -> dict[str, Embeddings]:
        """Replies by key, each reported as written; what a failing run handed out is in `got`."""
        embedder, self.got = self.open(**settings), {}
        for key, reply in embedder.embed_batches(batches.items()):
            self.got[key] = reply
            embedder.written(key)
        return self.got

    def sound(self, batches: dict[str, list[str]], replies: dict[str, Embeddings]) -> bool:
        return replies.keys() == batches.keys() and all(
            not replies[key].unfinished
            and not replies[key].refused
            and np.array_equal(replies[key].vectors, self.vectors(texts))
            for key, texts in batches.items()
        )

    def vectors(self, texts: list[str]) -> np.ndarray:
        return np.array([self.api.vector(text, width=64) for text in texts])

    @property
    def submitted(self) -> list[dict[str, Any]]:
        return [batch.document for batch in self.api.batches.batches.values()]

    def end_all(self) -> None:
        for job in self.api.batches.batches:
            self.api.batches.advance(job, to="completed")


@pytest.fixture
def desk(openai_api: OpenAIServer) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(openai_api, stack)


def raising(call: Callable[..., Any], error: BaseException, *, after: bool = True) -> Any:
    """The call, which raises the first time, before or after it is done."""
    errors = [error]

    def wrapped(*args: Any, **options: Any) -> Any:
        if errors and not after:
            raise errors.pop()
        result = call(*args, **options)
        if errors:
            raise errors.pop()
        return result

    return wrapped


def test_every_batch_becomes_a_job_with_a_line_per_text(desk):
    replies = desk.run(TWO, document_prompt="passage: ")
    prompted = {key: [f"passage: {text}" for text in texts] for key, texts in TWO.items()}
    assert desk.sound(prompted, replies)
    for key, texts in prompted.items():
        assert replies[key].tokens.tolist() == [count_tokens(text) for text in texts]
        assert replies[key].usage.tokens == sum(map(count_tokens, texts))
    first = desk.submitted[0]
    assert first["metadata"]["embedding_batch"] == "one"
    assert first["metadata"]["pipeline"] == "films"
    sent = [json.loads(line) for line in _input(desk, first).splitlines()]
    assert [line["custom_id"] for line in sent] == ["one-0", "one-1", "one-2"]
    assert sent[0]["url"] == "/v1/embeddings"
    assert sent[0]["body"] == {
        "model": "text-embedding-3-small",
        "encoding_format": "base64",
        "dimensions": 64,
        "input": "passage: Ann meets a lion cub",
    }
    assert not desk.api.requests, "documents never go out one by one"
    assert not desk.jobs.jobs, "nothing is left to collect"
    assert desk.log[0].startswith("batch jobs: 2 submitted, 0 taken over")
    assert desk.log[-1] == "2 of 2 batch jobs finished"


def _input(desk: Desk, document: dict[str, Any]) -> bytes:
    return desk.api.batches.files[document["input_file_id"]].data


def test_queries_are_never_batched_and_documents_cost_half(desk):
    embedder = desk.open()
    reply = embedder.embed(["a lion"], input_type="query")
    assert np.array_equal(reply.vectors, desk.vectors(["a lion"]))
    assert len(desk.api.requests) == 1
    assert not desk.submitted
    assert embedder.facts.price_factor == 0.5
    assert embedder.facts.settings["mode"] == "batch"
    assert desk.open(mode="realtime").facts.price_factor == 1.0


def test_without_a_place_for_jobs_only_queries_are_embedded(desk):
    settings = desk.open()._provider
    with EmbedderResource(provider=settings).open() as embedder:
        assert len(embedder.embed(["a lion"], input_type="query").vectors) == 1
        with pytest.raises(ConfigurationError, match="`mode: batch` embeds documents only where"):
            embedder.embed_batches(TWO.items())


def test_nothing_to_embed_asks_nothing(desk):
    assert desk.run({}) == {}
    assert desk.run({"empty": []})["empty"].vectors.shape == (0, 64)
    assert not desk.api.calls


@pytest.mark.parametrize(("limit", "value"), [("max_texts", 2), ("max_bytes", 450)])
def test_a_batch_over_the_limits_becomes_several_jobs(desk, monkeypatch, limit, value):
    monkeypatch.setattr(OpenAIBatchAPI, limit, value)
    assert desk.sound(ONE, desk.run(ONE))
    assert len(desk.submitted) == 2
    assert all(len(_input(desk, document)) <= 450 for document in desk.submitted)
    names = {document["metadata"]["embedding_batch"] for document in desk.submitted}
    assert len(names) == 2
    assert all(name.startswith("one.") for name in names)
    assert not desk.jobs.jobs


def test_a_run_that_waits_no_longer_says_so_and_another_collects(desk):
    desk.api.behaviour.batch_polls = 0
    for _ in range(2):
        with pytest.raises(ProviderError, match=r"2 of 2 batch jobs are still running after 0 s"):
            desk.run(TWO, wait_seconds=0)
    desk.api.batches.advance(to="completed")
    with pytest.raises(ProviderError, match=r"1 of 2 batch jobs .* any later run collects them"):
        desk.run(TWO, wait_seconds=0)
    assert list(desk.got) == ["two"]
    desk.end_all()
    assert desk.sound(ONE, desk.run(ONE))
    assert "0 submitted, 1 taken over from earlier runs" in desk.log[-2]
    assert len(desk.submitted) == 2
    assert not desk.jobs.jobs


def test_texts_find_their_job_wherever_the_borders_of_batches_fall(desk):
    desk.api.behaviour.batch_polls = 0
    with pytest.raises(ProviderError, match="still running"):
        desk.run(TWO, wait_seconds=0)
    desk.api.behaviour.batch_polls = 1
    (ann, bob, cem), (marine, liner) = TWO.values()
    moved = {"three": [bob, cem, marine], "four": [liner, "a new text"]}
    assert desk.sound(moved, desk.run(moved))
    assert len(desk.submitted) == 3
    assert desk.api.texts_served == dict.fromkeys([ann, bob, cem, marine, liner, "a new text"], 1)
    assert list(desk.jobs.jobs) == ["one"], "Ann's vector is paid for and not stored yet"
    assert desk.sound({"five": [ann]}, desk.run({"five": [ann]}))
    assert len(desk.submitted) == 3


def test_a_record_whose_results_are_gone_for_good_is_dropped(desk):
    with pytest.raises(ProviderError, match="still running"):
        desk.run(ONE, wait_seconds=0)
    (job,) = desk.jobs.jobs.values()
    desk.jobs.record(replace(job, submitted=job.submitted - FORGOTTEN_AFTER - timedelta(hours=1)))
    assert desk.sound(ONE, desk.run(ONE))
    assert len(desk.submitted) == 2


def test_a_lost_answer_to_create_makes_no_second_job(desk, monkeypatch):
    lost = raising(OpenAIBatchAPI.create, RequestFailed("transient", "connection reset"))
    monkeypatch.setattr(OpenAIBatchAPI, "create", lost)
    assert desk.sound(TWO, desk.run(TWO))
    assert len(desk.submitted) == 2


def test_what_passes_is_tried_again(desk):
    desk.api.behaviour.fail_next(503, path="/batches")  # create
    desk.api.behaviour.fail_next(None, 503, path="/files")  # results
    assert desk.sound(ONE, desk.run(ONE))
    assert len(desk.submitted) == 1


def test_polling_outlasts_an_outage(desk):
    desk.api.behaviour.fail_next(None, 500, None, 503, "not_json", path="/batches")
    assert desk.sound(ONE, desk.run(ONE, attempts=1))
    assert sum(line.endswith("asking again") for line in desk.log) == 3


def test_an_outage_without_end_ends_the_run_and_loses_nothing(desk):
    desk.api.behaviour.fail_next(None, *[503] * 3, path="/batches")
    with pytest.raises(ProviderError, match=r"overloaded.*any later run collects them"):
        desk.run(ONE, attempts=1, max_failures=3)
    assert desk.sound(ONE, desk.run(ONE))
    assert len(desk.submitted) == 1


def test_a_proxys_page_instead_of_results_loses_nothing(desk):
    desk.api.behaviour.fail_next(None, "not_json", path="/files")
    with pytest.raises(ProviderError, match="the results cannot be read"):
        desk.run(ONE)
    assert desk.sound(ONE, desk.run(ONE))
    assert len(desk.submitted) == 1


def test_a_wrong_key_is_said(desk):
    with pytest.raises(ProviderError, match="refuses the API key"):
        desk.run(ONE, api_key="wrong")
    assert desk.sound(ONE, desk.run(ONE))


def test_a_full_queue_is_waited_for(desk, monkeypatch):
    """OpenAI fails a batch as a whole where too many tokens are queued."""
    validate, refusals = desk.api.batches._validate, [1, 1]

    def crowded(batch: Any) -> Any:
        if batch.document["metadata"]["embedding_batch"] == "two" and refusals:
            refusals.pop()
            return [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]
        return validate(batch)

    monkeypatch.setattr(desk.api.batches, "_validate", crowded)
    assert desk.sound(TWO, desk.run(TWO))
    assert [document["status"] for document in desk.submitted].count("failed") == 2
    assert len({document["input_file_id"] for document in desk.submitted}) == 2, "uploaded once"
    assert any("wait for room" in line for line in desk.log)
    assert not desk.jobs.jobs


def test_a_text_that_is_refused_takes_no_other_along(desk):
    desk.api.behaviour.poison = ["Bob"]
    reply = desk.run(TWO)["one"]
    assert reply.refused == {1: Refusal("The input was rejected (HTTP 400)")}
    assert not reply.unfinished
    assert np.array_equal(reply.vectors[[0, 2]], desk.vectors(TWO["one"])[[0, 2]])
    assert not desk.jobs.jobs


def test_settings_that_refuse_every_text_refuse_none_for_good(desk):
    desk.api.behaviour.poison = [""]
    with pytest.raises(ProviderError, match="refuses every text: The input was rejected"):
        desk.run(ONE)
    assert desk.got == {}
    desk.api.behaviour.poison = []
    assert desk.sound(ONE, desk.run(ONE))


@pytest.mark.parametrize("status", [401, 409, 429, 500])
def test_a_line_that_failed_is_submitted_again(desk, status):
    desk.api.behaviour.batch_line_faults = {"one-1": status}
    with pytest.raises(
        ProviderError, match=rf"texts without a vector yet: 1 \(job .*HTTP {status}"
    ):
        desk.run(ONE)
    assert desk.got["one"].unfinished == {1}
    assert not desk.jobs.jobs
    rest = {"rest": [ONE["one"][1]]}
    assert desk.sound(rest, desk.run(rest))
    assert desk.api.texts_served == dict.fromkeys(ONE["one"], 1)


def test_a_line_that_is_not_found_is_asked_for_again_by_later_runs(desk):
    desk.api.behaviour.batch_line_faults = {"one-1": 404}
    reply = desk.run(ONE)["one"]
    assert not reply.unfinished
    assert reply.refused == {1: Refusal("Scripted fault 404 (HTTP 404)", lasting=False)}


@pytest.mark.parametrize("damage", [3.0, float("nan")])
def test_a_vector_that_is_none_is_the_fault_of_its_text_alone(desk, monkeypatch, damage):
    rows = desk.api.rows
    monkeypatch.setattr(
        desk.api,
        "rows",
        lambda request: [
            row * np.float32(damage if "Bob" in request.texts[0] else 1) for row in rows(request)
        ],
    )
    reply = desk.run(ONE)["one"]
    assert not reply.unfinished
    (refusal,) = reply.refused.values()
    assert ("length 3.0000" if damage == 3 else "NaN or infinite values") in refusal.reason
    assert not refusal.lasting


@pytest.mark.parametrize("done", [True, False])
def test_an_expired_job_keeps_what_it_finished(desk, done):
    desk.api.behaviour.batch_polls = 0
    with pytest.raises(ProviderError, match="still running"):
        desk.run(ONE, wait_seconds=0)
    if done:
        desk.api.batches.advance()
    desk.api.batches.expire()
    with pytest.raises(ProviderError, match=r"job batch_000001 expired: .*next run submits them"):
        desk.run(ONE)
    assert len(desk.submitted) == 1
    if done:
        assert desk.got["one"].unfinished == {1, 2}
        assert np.array_equal(desk.got["one"].vectors[:1], desk.vectors(ONE["one"][:1]))
    else:
        assert desk.got == {}
    assert not desk.jobs.jobs
    desk.api.behaviour.batch_polls = 1
    assert desk.sound(ONE, desk.run(ONE))


def test_a_job_that_failed_as_a_whole_says_why(desk, monkeypatch):
    errors = [{"code": "mismatched_model", "message": "All lines need one model."}]
    monkeypatch.setattr(desk.api.batches, "_validate", lambda _: errors)
    with pytest.raises(ProviderError, match="failed: mismatched_model: All lines need one model"):
        desk.run(ONE)
    monkeypatch.undo()
    assert desk.sound(ONE, desk.run(ONE))


def test_a_job_or_results_that_are_gone_are_made_again(desk):
    with pytest.raises(ProviderError, match="still running"):
        desk.run(TWO, wait_seconds=0)
    desk.jobs.record(replace(desk.jobs.jobs["one"], id="batch_gone"))
    desk.api.batches.advance(to="completed")
    desk.submitted[-1]["output_file_id"] = "file-gone"
    with pytest.raises(ProviderError, match=r"vector yet: 5 .*next run submits them"):
        desk.run(TWO)
    assert desk.got == {}
    assert desk.sound(TWO, desk.run(TWO))


def test_lines_that_make_no_sense_are_failures(desk, monkeypatch):
    publish = desk.api.batches._publish

    def damaged(batch: Any) -> None:
        batch.outputs[0]["response"]["body"] = {"data": []}
        batch.outputs[1]["custom_id"] = "whose"
        publish(batch)

    monkeypatch.setattr(desk.api.batches, "_publish", damaged)
    with pytest.raises(
        ProviderError, match=r"vector yet: 2 .*a line of the results cannot be read"
    ):
        desk.run(ONE)
    assert desk.got["one"].unfinished == {0, 1}
