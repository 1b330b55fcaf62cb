"""Whole runs with batches, plans and a local index in an object store, on a real socket."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.operations.audit import audit
from resources.batch_store.files import Files
from tests.object_store import BUCKET, ObjectStore, object_store
from tests.providers.voyage import VoyageServer
from tests.workshop import Workshop

pytestmark = pytest.mark.proof

TEXTS = 60
BATCH = 10


@pytest.fixture(scope="module")
def shared_store() -> Iterator[ObjectStore]:
    with pytest.MonkeyPatch.context() as patch, object_store(patch) as made:
        yield made


@pytest.fixture
def store(shared_store: ObjectStore) -> Iterator[ObjectStore]:
    shared_store.well()
    yield shared_store
    shared_store.well()


@pytest.fixture
def workshop(
    tmp_path: Path,
    mongod_uri: str,
    static_model: str,
    store: ObjectStore,
    voyage_api: VoyageServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workshop]:
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    name = f"test_{os.getpid()}_{tmp_path.name}"[:60]
    made = Workshop(tmp_path, mongod_uri, name, static_model)
    provider = {"base_url": voyage_api.url, "api_key": {"env": "VOYAGE_API_KEY"}}
    embedder = {"provider": {"voyage": provider | {"dimensions": 256}}, "max_batch_chunks": BATCH}
    made.configure({"embedder": embedder, "batch_store": {"url": f"s3://{BUCKET}/{name}"}})
    made.write(documents(TEXTS))
    store.counted()
    yield made
    made.client.drop_database(name)
    made.client.close()


def documents(count: int) -> list[dict[str, Any]]:
    return [{"_id": n, "text": f"text number {n}", "kind": "t"} for n in range(count)]


def paid_once(api: VoyageServer, count: int) -> bool:
    found = api.texts_billed
    found.pop("a", None)
    return len(found) == count and set(found.values()) == {1}


def test_a_run_asks_for_what_it_needs_and_for_next_to_nothing_when_nothing_changed(
    workshop: Workshop, store: ObjectStore
):
    done = workshop.run()
    assert done.success, done.failures
    cold = store.counted()
    assert workshop.run().success
    same = store.counted()
    found = workshop.search("text number 7", limit=1)
    assert found.hits[0].id == 7
    searched = store.counted()
    assert audit(workshop.pipeline).findings == []
    audited = store.counted()
    said = f"cold {cold}, nothing changed {same}, a search {searched}, an audit {audited}"
    assert cold.total() <= 125, said
    assert same.total() <= 45, said
    assert cold["PUT"] <= 2 * (TEXTS // BATCH) + 12, said


def test_credentials_that_expire_in_the_middle_are_a_sentence_and_what_was_paid_is_kept(
    workshop: Workshop, store: ObjectStore, voyage_api: VoyageServer
):
    written: list[str] = []

    def expired(method: str, path: str) -> bool:
        if method == "PUT" and "/batches/" in path:
            written.append(path)
        return len(written) > 3

    store.expired = expired
    done = workshop.run()
    assert not done.success
    assert any("expired" in said and "renew its credentials" in said for said in done.failures)
    assert workshop.vectors.count_documents({}) == 0
    store.well()
    done = workshop.run()
    assert done.success, done.failures
    assert workshop.vectors.count_documents({}) == TEXTS
    # What could not be written down any more is paid again, and nothing else.
    twice = [text for text, times in voyage_api.texts_billed.items() if times > 1 and text != "a"]
    kept = len(set(written[:3])) * BATCH
    assert len(twice) <= TEXTS - kept


def test_an_upload_that_is_cut_off_is_made_again_and_leaves_nothing_torn(
    workshop: Workshop, store: ObjectStore, voyage_api: VoyageServer
):
    cut: set[str] = set()

    def once(method: str, path: str) -> bool:
        first = path not in cut and "/queries/" not in path
        cut.add(path)
        return first

    store.cut = once
    done = workshop.run()
    assert done.success, done.failures
    assert store.cuts >= TEXTS // BATCH
    assert paid_once(voyage_api, TEXTS)
    store.well()
    assert audit(workshop.pipeline).findings == []
    assert workshop.search("text number 7", limit=1).hits[0].id == 7


def test_a_listing_that_lags_has_nothing_paid_twice(
    workshop: Workshop, store: ObjectStore, voyage_api: VoyageServer
):
    assert workshop.run("source_documents", "embedding_batches").success
    # Other batches than before, and nothing is stored that would tell of the first ones.
    workshop.write([*reversed(documents(TEXTS + 5))])
    store.hidden = lambda path: "/batches/" in path or "/plans/" in path
    done = workshop.run()
    assert done.success, done.failures
    assert paid_once(voyage_api, TEXTS + 5)
    store.well()
    assert workshop.vectors.count_documents({}) == TEXTS + 5
    assert audit(workshop.pipeline).findings == []


def test_retention_removes_there_what_is_not_needed(
    workshop: Workshop, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
):
    assert workshop.run().success
    monkeypatch.setattr("resources.batch_store.files.PRUNED_AFTER", timedelta(0))
    files = Files(f"s3://{BUCKET}/{workshop.database}")
    (space,) = files.names("batches")
    assert len(files.names(f"batches/{space}")) == TEXTS // BATCH
    workshop.configure({"vector_store": {"allow_delete": True}})
    workshop.configure({"batch_store": {"keep_days": 1e-9}})
    workshop.write(documents(BATCH))
    assert workshop.run().success
    assert workshop.run().success
    assert len(files.names(f"batches/{space}")) < TEXTS // BATCH
    assert workshop.search("text number 7", limit=1).hits[0].id == 7
