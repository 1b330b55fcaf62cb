"""Voyage AI's batch jobs: the lane is OpenAI's, the dialect is theirs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import chain
from typing import Any

import numpy as np
import pytest

from resources.core.errors import ProviderError
from resources.embedders.base import Embeddings, Refusal
from resources.embedders.batch.voyage import VoyageBatchAPI
from resources.embedders.failures import RequestFailed
from resources.embedders.resource import EmbedderResource
from resources.embedders.voyage import VoyageProvider
from tests.providers.behaviour import count_tokens
from tests.providers.voyage import VoyageServer, quantized
from tests.resources.embedders.batch.test_openai import ONE, TWO, MemoryJobs

THREE = TWO | {"three": ["a cub of the moon"]}


class Desk:
    """Runs one after another against one server and one store of jobs."""

    def __init__(self, api: VoyageServer, stack: ExitStack) -> None:
        self.api, self._stack = api, stack
        self.jobs = MemoryJobs()
        self.log: list[str] = []

    def open(self, **settings: Any) -> Any:
        settings = {
            "api_key": self.api.behaviour.key,
            "base_url": self.api.url,
            "dimensions": 256,
            "timeout_seconds": 10,
            "mode": "batch",
            "poll_seconds": 0.01,
        } | settings
        resource = EmbedderResource(provider=VoyageProvider(**settings))
        return self._stack.enter_context(resource.open(self.jobs, self.log.append))

    def run(self, batches: dict[str, list[str]], **settings: Any) -> dict[str, Embeddings]:
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
        return np.array([self.api.vector(text, width=256) for text in texts])

    @property
    def submitted(self) -> list[dict[str, Any]]:
        return [batch.document for batch in self.api.batches.batches.values()]


@pytest.fixture
def desk(voyage_api: VoyageServer) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(voyage_api, stack)


def test_the_job_says_what_is_asked_for_and_its_lines_only_the_texts(desk):
    replies = desk.run(TWO)
    assert desk.sound(TWO, replies)
    assert replies["one"].usage.tokens == sum(map(count_tokens, TWO["one"]))
    first = desk.submitted[0]
    assert first["request_params"] == {
        "model": "voyage-4-large",
        "input_type": "document",
        "truncation": False,
        "output_dimension": 256,
        "output_dtype": "float",
    }
    assert first["metadata"]["embedding_batch"] == "one"
    lines = desk.api.batches.files[first["input_file_id"]].data.splitlines()
    assert json.loads(lines[1]) == {"custom_id": "one-1", "body": {"input": [TWO["one"][1]]}}
    assert not desk.api.requests, "documents never go out one by one"
    assert not desk.jobs.jobs


def test_documents_cost_a_third_less_and_queries_are_never_batched(desk):
    embedder = desk.open()
    embedder.embed(["a lion"], input_type="query")
    assert len(desk.api.requests) == 1
    assert not desk.submitted
    assert embedder.facts.price_factor == 0.67
    assert embedder.facts.cost_usd(1_000_000) == pytest.approx(0.0804)


def test_what_was_refused_before_there_were_jobs_stays_so(desk):
    realtime, batch = desk.open(mode="realtime").facts, desk.open().facts
    assert realtime.settings == {"truncate": False}
    space = desk.open().space.id
    assert realtime.refusal_scope == f'{space} {{"truncate": false}}'
    assert batch.refusal_scope != realtime.refusal_scope


@pytest.mark.parametrize("output", ["int8", "uint8", "binary", "ubinary"])
def test_other_types_come_as_one_by_one(desk, output):
    replies = desk.run(ONE, output_dtype=output)
    with EmbedderResource(
        provider=VoyageProvider(
            api_key=desk.api.behaviour.key,
            base_url=desk.api.url,
            dimensions=256,
            output_dtype=output,
        )
    ).open() as realtime:
        expected = realtime.embed(ONE["one"], input_type="document").vectors
    assert replies["one"].vectors.dtype == expected.dtype
    assert np.array_equal(replies["one"].vectors, expected)
    assert len(expected[0]) == len(quantized(desk.vectors(["a"])[0], output))


def test_texts_that_may_have_been_cut_are_known(desk):
    texts = {"one": ["short", "x" * 32_000]}
    assert desk.run(texts, truncate=True)["one"].cut == {1}


def test_a_text_that_is_refused_takes_no_other_along(desk):
    desk.api.behaviour.poison = ["Bob"]
    reply = desk.run(TWO)["one"]
    assert reply.refused == {1: Refusal("The input was rejected (HTTP 400)")}
    assert np.array_equal(reply.vectors[[0, 2]], desk.vectors(TWO["one"])[[0, 2]])


def test_no_more_jobs_than_fit_into_the_queue_are_under_way(desk):
    desk.api.batches.max_in_flight = 1
    assert desk.sound(THREE, desk.run(THREE, attempts=1))
    assert len(desk.submitted) == 3
    assert desk.api.texts_served == dict.fromkeys(chain(*THREE.values()), 1)
    assert any("wait for room" in line for line in desk.log)
    assert not desk.jobs.jobs


def test_what_waits_for_room_when_a_run_ends_is_submitted_by_the_next(desk):
    desk.api.batches.max_in_flight = 1
    desk.api.behaviour.batch_polls = 0
    with pytest.raises(ProviderError, match="3 of 3 batch jobs are still running"):
        desk.run(THREE, attempts=1, wait_seconds=0)
    assert len(desk.submitted) == 1
    desk.api.behaviour.batch_polls = 1
    assert desk.sound(THREE, desk.run(THREE, attempts=1))
    assert len(desk.submitted) == 3
    assert desk.api.texts_served == dict.fromkeys(chain(*THREE.values()), 1)


def test_a_lost_answer_to_a_job_that_waited_makes_no_second_one(desk, monkeypatch):
    desk.api.batches.max_in_flight = 1
    create, lost = VoyageBatchAPI.create, ["two"]

    def loses(api: VoyageBatchAPI, file: str, labels: Mapping[str, str]) -> str:
        made = create(api, file, labels)
        if labels["embedding_batch"] in lost:
            lost.clear()
            raise RequestFailed("transient", "connection reset")
        return made

    monkeypatch.setattr(VoyageBatchAPI, "create", loses)
    assert desk.sound(TWO, desk.run(TWO, attempts=1))
    assert not lost
    assert len(desk.submitted) == 2


def test_a_job_that_ran_out_of_time_keeps_what_it_finished(desk):
    desk.api.behaviour.batch_polls = 0
    with pytest.raises(ProviderError, match="still running"):
        desk.run(ONE, wait_seconds=0)
    desk.api.batches.advance()
    desk.api.batches.expire()
    with pytest.raises(ProviderError, match=r"vector yet: 2 .*batch_expired.*next run submits"):
        desk.run(ONE)
    assert desk.got["one"].unfinished == {1, 2}


def test_a_job_that_is_not_written_down_in_full_is_found_by_its_date(desk):
    desk.api.behaviour.batch_polls = 0
    with pytest.raises(ProviderError, match="still running"):
        desk.run(ONE, wait_seconds=0)
    (job,) = desk.jobs.jobs.values()
    desk.jobs.record(type(job)(job.name, job.space_id, job.texts, job.submitted, file=job.file))
    desk.api.behaviour.batch_polls = 1
    assert desk.sound(ONE, desk.run(ONE))
    assert len(desk.submitted) == 1
