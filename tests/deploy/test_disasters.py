"""What docs/deployment.md promises of the day after: on a real server, in this order."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest

from pipelines.operations.audit import audit
from tests.conftest import Servers
from tests.workshop import Run, Workshop

YESTERDAY = [
    {"_id": f"d{n}", "text": f"what stands in document {n}", "kind": "a"} for n in range(8)
]
TODAY = [
    *({**each, "text": f"{each['text']}, revised"} for each in YESTERDAY[:2]),  # changed
    *YESTERDAY[2:7],  # the last one is gone
    {"_id": "new", "text": "a document of today", "kind": "b"},
]


@dataclass(frozen=True)
class Dump:
    """Of a database: its collections with their documents and their unique indexes."""

    collections: Mapping[str, list[dict[str, Any]]]
    indexes: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, database: pymongo.database.Database) -> "Dump":
        names = database.list_collection_names()
        return cls(
            {name: database[name].find().to_list() for name in names},
            {name: database[name].index_information() for name in names},
        )

    def restore(self, database: pymongo.database.Database, *names: str) -> None:
        """All of it, or some collections; what is there now goes."""
        for name in database.list_collection_names():
            if not names or name in names:
                database.drop_collection(name)
        for name in names or self.collections:
            collection = database.create_collection(name)
            if documents := self.collections.get(name):
                collection.insert_many(documents)
            for index, about in self.indexes.get(name, {}).items():
                if index != "_id_":
                    more = {key: about[key] for key in ("unique", "sparse") if key in about}
                    collection.create_index(about["key"], name=index, **more)


@dataclass
class Days:
    """A pipeline after a run of yesterday and one of today."""

    workshop: Workshop
    dump: Dump
    dump_today: Dump
    batches: Path
    batches_today: Path

    @property
    def database(self) -> pymongo.database.Database:
        return self.workshop.client[self.workshop.database]

    @property
    def store(self) -> Path:
        return self.workshop.folder / "batch_store"

    @property
    def registry(self) -> list[str]:
        return [name for name in self.database.list_collection_names() if name != "vectors"]

    def next_run(self) -> Run:
        done = self.workshop.run()
        assert done.success, done.failures
        failed = [name for name, passed in done.checks.items() if not passed]
        assert failed == []
        return done

    def all_is_right(self) -> None:
        found = {name: each["text"] for name, each in self.workshop.stored().items()}
        assert found == {each["_id"]: each["text"] for each in TODAY}
        for each in TODAY:
            assert self.workshop.search(each["text"], limit=1).hits[0].id == each["_id"]
        checked = audit(self.workshop.pipeline)
        assert checked.findings == []


def _copied(store: Path, name: str) -> Path:
    return Path(shutil.copytree(store, store.with_name(name)))


@pytest.fixture(scope="module")
def base(
    tmp_path_factory: pytest.TempPathFactory, _servers: Servers, static_model: str
) -> Iterator[Days]:
    """Made once; each test begins with what lies here at the end of today."""
    folder = tmp_path_factory.mktemp("days")
    workshop = Workshop(folder, _servers.uri("mongod"), folder.name, static_model)
    workshop.configure({"vector_store": {"max_delete_fraction": 0.5}})
    database = workshop.client[workshop.database]
    store = folder / "batch_store"
    workshop.write(YESTERDAY)
    assert workshop.run().success
    yesterday, batches = Dump.of(database), _copied(store, "yesterday")
    for text in ("on the way", "nearly there"):  # the last run is some runs after yesterday's
        workshop.write([{**TODAY[0], "text": text}, *TODAY[1:]])
        assert workshop.run().success
    workshop.write(TODAY)
    assert workshop.run().success
    yield Days(workshop, yesterday, Dump.of(database), batches, _copied(store, "today"))
    workshop.client.drop_database(workshop.database)
    workshop.client.close()


@pytest.fixture
def days(base: Days) -> Days:
    base.dump_today.restore(base.database)
    shutil.rmtree(base.store, ignore_errors=True)
    shutil.copytree(base.batches_today, base.store)
    base.workshop.write(TODAY)
    return base


def test_mongodb_restored_to_yesterday_is_filled_from_batches_for_nothing(days: Days):
    days.dump.restore(days.database)
    done = days.next_run()
    assert done.embedding_batches["embedded"] == 0
    days.all_is_right()


def test_so_it_is_where_yesterdays_index_files_are_gone_by_now(days: Days):
    """They are removed an hour after nobody needs them: the restored registry names them again."""
    days.dump.restore(days.database)
    index = days.store / "indexes" / "films" / "vector_index"
    versions = sorted(each.name for each in index.iterdir() if each.name != "segments")
    assert len(versions) == 4
    for each in versions[:-1]:
        shutil.rmtree(index / each)
    assert days.next_run().embedding_batches["embedded"] == 0
    days.all_is_right()


def test_vectors_restored_to_yesterday_beside_a_registry_of_today(days: Days):
    days.dump.restore(days.database, "vectors")
    assert days.next_run().embedding_batches["embedded"] == 0
    days.all_is_right()


def test_a_registry_restored_to_yesterday_beside_vectors_of_today(days: Days):
    days.dump.restore(days.database, *days.registry)
    assert days.next_run().embedding_batches["embedded"] == 0
    days.all_is_right()
    # Its runs count on: what today's last run wrote can be written over again.
    days.workshop.write([{**TODAY[0], "text": "revised once more"}, *TODAY[1:]])
    assert days.next_run().embedding_batches["embedded"] == 1
    assert days.workshop.stored()["d0"]["text"] == "revised once more"


def test_a_registry_that_is_lost_beside_vectors_of_today(days: Days):
    for name in days.registry:
        days.database.drop_collection(name)
    assert days.next_run().embedding_batches["embedded"] == 0
    days.all_is_right()
    days.workshop.write([{**TODAY[0], "text": "revised once more"}, *TODAY[1:]])
    assert days.next_run().embedding_batches["embedded"] == 1
    assert days.workshop.stored()["d0"]["text"] == "revised once more"


def test_batches_lost_cost_nothing_while_the_vectors_are_stored(days: Days):
    shutil.rmtree(days.store)
    done = days.next_run()
    assert done.embedding_batches["embedded"] == 0
    assert done.search_index["vectors indexed"] == len(TODAY)
    # A text that is stored is copied, one that is not is paid.
    days.workshop.write([*TODAY, {**TODAY[3], "_id": "twin"}, {**YESTERDAY[7], "_id": "back"}])
    done = days.next_run()
    assert done.embedding_batches["embedded"] == 1
    assert len(days.workshop.stored()) == len(TODAY) + 2


def test_batches_and_vectors_lost_are_paid_again_and_nothing_else_is(days: Days):
    shutil.rmtree(days.store)
    days.database.drop_collection("vectors")
    assert days.next_run().embedding_batches["embedded"] == len(TODAY)
    days.all_is_right()


def test_both_restored_to_yesterday_pay_for_today_again(days: Days):
    """Of batches, what was written since the copy is missing; files do not change."""
    days.dump.restore(days.database)
    shutil.rmtree(days.store)
    shutil.copytree(days.batches, days.store)
    assert days.next_run().embedding_batches["embedded"] == 3
    days.all_is_right()
