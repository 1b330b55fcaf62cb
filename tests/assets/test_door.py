"""What one run opens: a client, some sockets, and each part of the pipeline once a step."""

import gc
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import dagster as dg
import pymongo
import pytest

import assets.work.parts
import resources.mongodb.clients
from pipelines.framework.catalog import open_pipeline
from pipelines.operations.search import search
from resources.embedders.resource import EmbedderResource
from resources.vector_store.resource import VectorStoreResource
from tests.workshop import Workshop

STEPS = 13
"""Five assets, six checks, and one step for those of a candidate."""


@pytest.fixture
def films(tmp_path, mongod_uri, static_model) -> Iterator[Workshop]:
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write([{"_id": n, "text": f"text number {n}", "kind": "film"} for n in range(25)])
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.fixture
def opens(monkeypatch) -> Counter[str]:
    """How often what was opened; the counted still do their work."""
    counts: Counter[str] = Counter()

    def counted(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            counts[label] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, wrapped)

    counted(resources.mongodb.clients, "MongoClient", "client")
    counted(EmbedderResource, "space", "space")
    counted(VectorStoreResource, "open", "store")
    counted(assets.work.parts, "plan_of_run", "plan")
    return counts


def afresh(films: Workshop) -> None:
    """Nothing that is open by now fits any more: Dagster keeps the last run's resources a while."""
    films.configure({"mongodb": {"timeout_seconds": 60 + secrets.randbelow(10**9) / 10**9}})


def created(client: pymongo.MongoClient) -> int:
    return client.admin.command("serverStatus")["connections"]["totalCreated"]


def test_a_run_with_nothing_to_do_opens_little(films: Workshop, opens: Counter[str]):
    assert films.run().success
    afresh(films)
    job = films.pipeline.definitions().resolve_job_def(films.name)
    opens.clear()
    for _ in range(3):  # so that the test's own client opens nothing more
        before = created(films.client)
    result = job.execute_in_process()
    sockets = created(films.client) - before
    assert result.success
    steps = [event for event in result.all_events if event.is_step_success]
    assert len(steps) == STEPS
    assert opens["client"] == 1
    assert sockets <= 8
    for part in ("space", "store", "plan"):
        assert 0 < opens[part] <= STEPS, part


def test_each_part_is_opened_once_however_often_it_is_asked_for(films: Workshop, opens):
    assert films.run().success
    afresh(films)
    opens.clear()
    with open_pipeline(films.pipeline) as opened:
        for _ in range(3):
            assert opened.store.count() == 25
            assert opened.plan.space == opened.space
            opened.check()
            assert opened.engine.coverage().indexed == 25
    assert opens == {"client": 1, "space": 1, "store": 1, "plan": 1}


def test_two_that_are_open_at_once_share_the_process_s_client(films: Workshop, opens):
    afresh(films)
    with open_pipeline(films.pipeline) as one, open_pipeline(films.pipeline) as other:
        assert one.client is other.client
        assert films.run().success
        assert opens["client"] == 1
        answer = search(films.pipeline, "text number 7")
        assert answer.hits[0].id == 7
    assert opens["client"] == 1


def test_the_last_who_lets_go_closes_the_client(films: Workshop):
    afresh(films)
    with open_pipeline(films.pipeline) as one, open_pipeline(films.pipeline) as other:
        client = one.client
        assert other.client is client
    del one
    gc.collect()
    assert client.admin.command("ping")["ok"]
    del other
    gc.collect()
    with suppress(pymongo.errors.InvalidOperation):
        while client.admin.command("ping"):  # until the thread that closes it has come to that
            time.sleep(0.01)


def test_closing_holds_nothing_up(monkeypatch):
    """A driver that ends its sessions looks for a server, also for one that is gone."""
    order, released, ended = [], threading.Event(), threading.Event()
    handle = resources.mongodb.clients.ClientHandle("mongodb://127.0.0.1:1", 3600.5)

    def close() -> None:
        released.wait(60)
        order.append("closed")
        ended.set()

    monkeypatch.setattr(handle.client, "close", close)
    del handle
    gc.collect()
    order.append("let go")
    released.set()
    assert ended.wait(60)
    assert order == ["let go", "closed"]


def test_the_collector_may_let_go_of_a_client_wherever_it_runs(monkeypatch):
    """Such as in a thread that just begins, for which the one that opens a client waits."""
    clients, closed = resources.mongodb.clients, threading.Event()
    held = [clients.ClientHandle("mongodb://127.0.0.1:1", 3601.5)]
    monkeypatch.setattr(held[0].client, "close", closed.set)
    with clients._lock:
        collecting = threading.Thread(target=held.clear, daemon=True)
        collecting.start()
        collecting.join(60)
        assert not collecting.is_alive()
    assert closed.wait(60)


def test_an_override_by_run_config_reaches_every_step(films: Workshop):
    aside = {"path": "another", "database": films.database, "collection": "elsewhere"}
    run = films.run(config={"resources": {"vector_store": {"config": aside}}})
    assert run.success, run.failures
    assert run.stored_vectors["lineage at"] == "another_lineage"
    assert run.checks["index_is_complete"]
    assert (
        films.client[films.database]["elsewhere"].count_documents({"another": {"$type": 5}}) == 25
    )
    assert films.vectors.count_documents({}) == 0


def test_the_assets_name_the_resources_and_no_more(films: Workshop):
    plain = films.pipeline.definitions().resolve_job_def(films.name)
    prefixed = films.pipeline.definitions("x__").resolve_job_def(films.name)
    names = {
        "source", "embedder", "mongodb", "vector_store", "search_index", "batch_store", "rerank",
        "evaluation", "model_change", "freshness", "runs", "alerts",
    }  # fmt: skip
    for job, prefix in ((plain, ""), (prefixed, "x__")):
        for node in job.nodes:
            assert isinstance(node.definition, dg.OpDefinition)
            assert node.definition.required_resource_keys == {prefix + name for name in names}
