"""Frozen between its last check and the send, replaced meanwhile, thawed: nothing newer is lost."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.killing import RunningChild, expire_lease, stop_before
from tests.workshop import Workshop

REPLACED = "held the pipeline films but was not heard of for 60 s"


@pytest.fixture
def films(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.configure({"vector_store": {"max_delete_fraction": 0.9}})
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def documents(*numbers: int, version: int = 0) -> list[dict[str, Any]]:
    return [{"_id": n, "text": f"text {n} of version {version}", "kind": "k"} for n in numbers]


def texts(films: Workshop) -> dict[int, str]:
    return {number: document["text"] for number, document in films.stored().items()}


@contextmanager
def frozen(films: Workshop, method: str, collection: str) -> Iterator[RunningChild]:
    """A run that stands before a command to a collection, and has lost its lease meanwhile."""
    place = f"pymongo.collection:Collection.{method}"
    child = RunningChild(films, prepare=partial(stop_before, place, collection))
    try:
        child.wait_until_frozen()
        expire_lease(films)
        yield child
    finally:
        child.kill()


def newer(films: Workshop, wanted: list[dict[str, Any]]) -> None:
    films.write(wanted)
    run = films.run()
    assert run.success, run.failures


def thawed(child: RunningChild) -> None:
    child.thaw()
    succeeded, failures = child.result()
    assert not succeeded
    assert REPLACED in failures[0]


@pytest.mark.parametrize("collection", ["search_indexes", "vector_stores"])
@pytest.mark.parametrize("before", [[], documents(*range(10))], ids=["first", "later"])
def test_a_thawed_run_replaces_no_entry_of_a_newer_one(films, collection, before):
    if before:
        newer(films, before)
    films.write(documents(*range(20)))
    with frozen(films, "update_one", collection) as child:
        newer(films, documents(*range(5, 25), version=1))
        (entry,) = films.client[films.database][collection].find()
        thawed(child)
    assert list(films.client[films.database][collection].find()) == [entry]
    assert films.search("text 24 of version 1").hits[0].id == 24
    assert 4 not in {hit.id for hit in films.search("text 4", limit=20).hits}


BASE = documents(*range(80))
LATE = {
    # what the frozen run has read, and how it sends it
    "an insert": (documents(*range(100)), "bulk_write"),
    "a change": (documents(*range(20), version=1) + documents(*range(20, 80)), "bulk_write"),
    "a deletion": (documents(*range(60)), "bulk_write"),
}


@pytest.mark.parametrize("late", LATE)
def test_the_next_run_repairs_what_came_late(films, late):
    read, method = LATE[late]
    newer(films, BASE)
    films.write(read)
    with frozen(films, method, "vectors") as child:
        newer(films, BASE)
        thawed(child)
    embedded = films.client[films.database]["embedding_spend"].count_documents({})
    newer(films, BASE)
    assert texts(films) == {document["_id"]: document["text"] for document in BASE}
    assert films.client[films.database]["embedding_spend"].count_documents({}) == embedded
    assert len(films.search("text", limit=100).hits) == len(BASE)


def test_a_thawed_run_takes_back_what_it_sent_late(films):
    newer(films, BASE)
    films.write(documents(*range(100)))
    with frozen(films, "bulk_write", "vectors") as child:
        newer(films, BASE)
        thawed(child)
    assert set(films.stored()) == set(range(80))
