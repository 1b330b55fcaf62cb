"""`mode: batch` through the whole graph: what kills a run costs none of its jobs."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest

from resources.batch_store.store import BatchStore
from resources.core.vectors import from_bson
from resources.embedders.batch.openai import OpenAIBatchAPI
from resources.registry.jobs import LaneJobs
from tests.providers.openai import OpenAIServer
from tests.workshop import Workshop

TEXTS = {
    "titanic": "the sinking of the largest luxury liner",
    "lion-king": "a lion cub searches for his identity",
    "avatar": "a marine is dispatched to the moon Pandora",
    "dublin": "the capital of Ireland on the river Liffey",
}


@pytest.fixture
def films(
    tmp_path: Path, mongod_uri: str, openai_api: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    """Four texts in two embedding batches."""
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    films = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", "none")
    films.configure({"embedder": {"max_batch_chunks": 2, **provider(openai_api)}})
    films.write([{"_id": key, "text": text, "kind": "film"} for key, text in TEXTS.items()])
    yield films
    films.client.drop_database(films.database)
    films.client.close()


def provider(api: OpenAIServer, **settings: Any) -> dict[str, Any]:
    settings = {"base_url": api.url, "dimensions": 64, "timeout_seconds": 60} | settings
    return {"provider": {"openai": {"mode": "batch", "poll_seconds": 0.01, **settings}}}


def records(films: Workshop) -> pymongo.collection.Collection:
    return films.client[films.database]["embedding_jobs"]


def everything_is_stored(films: Workshop, api: OpenAIServer) -> bool:
    stored = films.stored()
    return stored.keys() == TEXTS.keys() and all(
        np.array_equal(from_bson(stored[key]["embedding"]), api.vector(text, width=64))
        for key, text in TEXTS.items()
    )


def submitted(api: OpenAIServer) -> list[dict[str, Any]]:
    return [batch.document for batch in api.batches.batches.values()]


def test_documents_go_in_batch_jobs_and_queries_do_not(films, openai_api, monkeypatch):
    # Thousands of batches wait at once: their chunks are read again.
    monkeypatch.setattr("assets.work.embedding.UNDER_WAY_BYTES", 0)
    run = films.run()
    assert run.success, run.failures
    assert all(run.checks.values())
    assert everything_is_stored(films, openai_api)
    assert run.embedding_batches["embedded"] == 4
    assert run.embedding_batches["tokens"] == openai_api.tokens_billed
    assert len(submitted(openai_api)) == 2
    assert not openai_api.requests
    assert records(films).count_documents({}) == 0
    assert films.search("a lion").hits
    assert len(openai_api.requests) == 1
    again = films.run()
    assert again.success
    assert again.embedding_batches["embedded"] == 0
    assert len(submitted(openai_api)) == 2


def killing(call: Callable[..., Any], when: Callable[..., bool], *, after: bool = True) -> Any:
    """The call, which ends the process (as far as Dagster sees) once, before or after it."""
    killed = []

    def wrapped(*args: Any) -> Any:
        if after:
            result = call(*args)
        if when(*args) and not killed:
            killed.append(1)
            raise KeyboardInterrupt
        return result if after else call(*args)

    return wrapped


def always(*_: Any) -> bool:
    return True


KILLS: dict[str, tuple[type, str, Callable[..., bool], bool]] = {
    "nothing is submitted": (LaneJobs, "record", always, True),
    "after the upload": (OpenAIBatchAPI, "upload", always, True),
    "before create": (OpenAIBatchAPI, "create", always, False),
    "after create, before the record": (OpenAIBatchAPI, "create", always, True),
    "after the record": (LaneJobs, "record", lambda _, job: job.id is not None, True),
    "while polling": (OpenAIBatchAPI, "poll", always, True),
    "at the end of polling": (LaneJobs, "record", lambda _, j: j.status == "completed", True),
    "after results, before the file": (BatchStore, "write_batch", always, False),
    "after the file": (BatchStore, "write_batch", always, True),
}


@pytest.mark.parametrize("step", KILLS)
def test_a_killed_run_loses_no_job_and_submits_none_twice(films, openai_api, monkeypatch, step):
    owner, name, when, after = KILLS[step]
    monkeypatch.setattr(owner, name, killing(getattr(owner, name), when, after=after))
    assert not films.run().success
    left = records(films).count_documents({})
    assert left > 0
    run = films.run()
    assert run.success, run.failures
    assert everything_is_stored(films, openai_api)
    assert len(submitted(openai_api)) == 2
    assert openai_api.texts_billed == dict.fromkeys(TEXTS.values(), 1)
    assert records(films).count_documents({}) == 0
    if step == "before create":
        used = {document["input_file_id"] for document in submitted(openai_api)}
        files = openai_api.batches.files.values()
        inputs = {file.id for file in files if file.purpose == "batch"}
        assert inputs == used, "what was uploaded in vain is removed"


def test_a_run_that_stops_waiting_leaves_its_jobs_to_the_next(films, openai_api):
    films.configure({"embedder": provider(openai_api, wait_seconds=0)})
    openai_api.behaviour.batch_polls = 0
    run = films.run()
    assert not run.success
    assert (
        "2 of 2 batch jobs are still running after 0 seconds: any later run collects them, "
        "nothing is lost"
    ) in run.failures[0]
    waiting = records(films).find_one()
    assert waiting is not None
    assert waiting["run"] == run.run_id
    assert waiting["pipeline"] == "films"
    assert waiting["provider_job"] in openai_api.batches.batches
    assert waiting["status"] == "validating"
    openai_api.batches.advance(to="completed")
    assert not films.run().success
    assert films.vectors.count_documents({}) == 0
    for job in openai_api.batches.batches:
        openai_api.batches.advance(job, to="completed")
    run = films.run()
    assert run.success, run.failures
    assert run.source_documents["vectors reused"] == 2, "one batch was written by the run before"
    assert everything_is_stored(films, openai_api)
    assert len(submitted(openai_api)) == 2
    assert records(films).count_documents({}) == 0


def test_the_source_may_change_while_jobs_run(films, openai_api):
    films.configure({"embedder": provider(openai_api, wait_seconds=0)})
    openai_api.behaviour.batch_polls = 0
    assert not films.run().success
    for job in openai_api.batches.batches:
        openai_api.batches.advance(job, to="completed")
    openai_api.behaviour.batch_polls = 1
    films.configure({"embedder": provider(openai_api)})
    changed = {"new": "a city in the south"} | TEXTS
    films.write([{"_id": key, "text": text} for key, text in changed.items()])
    run = films.run()
    assert run.success, run.failures
    assert films.stored().keys() == changed.keys()
    assert openai_api.texts_billed == dict.fromkeys(changed.values(), 1)
    assert records(films).count_documents({}) == 0


def test_an_expired_job_keeps_what_it_finished(films, openai_api):
    films.configure({"embedder": provider(openai_api, wait_seconds=0)})
    openai_api.behaviour.batch_polls = 0
    assert not films.run().success
    for job in openai_api.batches.batches:
        openai_api.batches.advance(job)
        openai_api.batches.expire(job)
    run = films.run()
    assert (
        "texts without a vector yet: 2 (job batch_000001 expired: batch_expired" in run.failures[0]
    )
    openai_api.behaviour.batch_polls = 1
    films.configure({"embedder": provider(openai_api)})
    run = films.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 2
    assert everything_is_stored(films, openai_api)
    assert openai_api.texts_billed == dict.fromkeys(TEXTS.values(), 1)
    assert records(films).count_documents({}) == 0


def test_texts_that_are_refused_go_to_quarantine(films, openai_api):
    openai_api.behaviour.poison = ["Pandora"]
    run = films.run()
    assert run.embedding_batches["embedded"] == 3
    assert run.embedding_batches["refused by the provider"] == 1
    assert films.quarantine() == {"avatar": "The input was rejected (HTTP 400)"}
    assert films.stored().keys() == TEXTS.keys() - {"avatar"}
    assert records(films).count_documents({}) == 0


def test_a_line_that_failed_is_submitted_again(films, openai_api, monkeypatch):
    scripted = openai_api.embed

    def overloaded(request: Any, fault: Any = None) -> Any:
        if "Pandora" in request.texts[0] and len(submitted(openai_api)) == 2:
            raise openai_api.scripted(503, request)
        return scripted(request, fault)

    monkeypatch.setattr(openai_api, "embed", overloaded)
    run = films.run()
    assert not run.success
    assert "texts without a vector yet: 1" in run.failures[0]
    run = films.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 1
    assert everything_is_stored(films, openai_api)
    assert openai_api.texts_billed == dict.fromkeys(TEXTS.values(), 1)
