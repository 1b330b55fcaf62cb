"""Both engines under one suite: what is found, filtered, refused and explained is the same.

The `mongodb` engine runs against the stand-in of `tests/search_node`, in front of the genuine
mongod, and against a real deployment where TEST_MONGODB_URI names one with Vector Search.
"""

import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from resources.core.errors import QueryRefused
from resources.mongodb.deployment import inspect_deployment
from tests.search_node import search_node
from tests.workshop import Workshop

COLOURS, THINGS = ("red", "green", "blue", "grey"), ("boat", "hat", "stone", "clock", "train")
DOCUMENTS: list[dict[str, Any]] = [
    {
        "_id": f"{colour}-{thing}",
        "text": f"{colour} {thing}",
        "kind": thing,
        "colour": colour,
        "year": 1990 + number,
        "tags": [colour, thing] if number % 2 else [],
        **({"rare": None} if number % 3 == 0 else {"rare": True} if number % 3 == 1 else {}),
    }
    for number, (colour, thing) in enumerate((c, t) for c in COLOURS for t in THINGS)
]
FILTERABLE = ["kind", "colour", "year", "tags", "rare"]
ENGINES = ["local", "mongodb", *(["real"] if "TEST_MONGODB_URI" in os.environ else [])]


@pytest.fixture(params=ENGINES)
def workshop(
    request: pytest.FixtureRequest, tmp_path: Path, mongod_uri: str, static_model: str
) -> Iterator[Workshop]:
    if request.param == "real":
        with pymongo.MongoClient(os.environ["TEST_MONGODB_URI"]) as client:
            found = inspect_deployment(client, "test")
        if not found.vector_search:
            pytest.skip(f"TEST_MONGODB_URI names a deployment without Vector Search: {found}")
        yield from _open(os.environ["TEST_MONGODB_URI"], "mongodb", tmp_path, static_model)
    elif request.param == "mongodb":
        with search_node(mongod_uri) as node:
            yield from _open(node.uri, "mongodb", tmp_path, static_model)
    else:
        yield from _open(mongod_uri, "local", tmp_path, static_model)


def _open(uri: str, engine: str, folder: Path, model: str) -> Iterator[Workshop]:
    made = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", model)
    made.configure(
        {
            "source": {"carry": FILTERABLE},
            "search_index": {
                "engine": engine,
                "filter_fields": FILTERABLE,
                "poll_seconds": 0.05,
            },
        }
    )
    made.write(DOCUMENTS)
    yield made
    made.client.drop_database(made.database)
    made.client.close()


FILTERS: list[dict[str, Any]] = [
    {"kind": "hat"},
    {"kind": {"$in": ["hat", "boat"]}, "colour": {"$ne": "red"}},
    {"year": {"$gte": 1995, "$lt": 2000}},
    {"$or": [{"colour": "blue"}, {"year": {"$gt": 2006}}]},
    {"$nor": [{"kind": "hat"}, {"kind": "boat"}]},
    {"tags": "green"},
    {"tags": {"$exists": True}, "year": {"$not": {"$gt": 1993}}},
    {"rare": None},
    {"rare": {"$exists": False}},
    {"colour": {"$nin": ["red", "green", "blue"]}},
]


def test_filters_mean_what_find_means(workshop):
    run = workshop.run()
    assert run.success, run.failures
    assert all(run.checks.values())
    for clause in FILTERS:
        wanted = {row["_id"] for row in workshop.vectors.find(clause)}
        assert wanted, f"a filter that nothing passes proves nothing: {clause}"
        for exact in (True, False):
            found = workshop.search("a boat", limit=50, filter=clause, exact=exact)
            assert {hit.id for hit in found.hits} == wanted, clause


@pytest.mark.parametrize(
    ("dtype", "similarity"),
    [("float32", "euclidean"), ("int8", "dotProduct"), ("int8", "cosine"), ("array", "cosine")],
)
def test_scores_and_order_are_mongodbs(workshop, similarity, dtype):
    workshop.configure(
        {"search_index": {"similarity": similarity}, "vector_store": {"dtype": dtype}}
    )
    run = workshop.run()
    assert run.success, run.failures
    found = workshop.search("green stone", limit=5)
    assert found.hits[0].id == "green-stone"
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)
    if dtype != "int8" or similarity == "cosine":
        assert scores[0] == pytest.approx(1.0, abs=1e-5)
    assert [hit.id for hit in workshop.search("green stone", limit=5, exact=True).hits] == [
        hit.id for hit in found.hits
    ]


@pytest.mark.parametrize("rescore", ["none", "float32"])
def test_bits_are_found(workshop, rescore):
    workshop.configure(
        {
            "search_index": {"similarity": "euclidean"},
            "vector_store": {"dtype": "packed_bit", "rescore": rescore},
        }
    )
    run = workshop.run()
    assert run.success, run.failures
    assert all(run.checks.values())
    hit = workshop.search("grey clock", limit=1).hits[0]
    assert (hit.id, hit.score) == ("grey-clock", pytest.approx(1.0, abs=1e-5))


def test_what_cannot_be_answered_is_refused_before_it_is_sent(workshop):
    workshop.run()
    refusals = [
        ({"filter": {"text": "x"}}, "'text', which is not a filter field"),
        ({"filter": {"kind": {"$regex": "h"}}}, r"unknown filter operator \$regex"),
        ({"filter": {"kind": {"$eq": {"a": 1}}}}, "compares 'kind' with"),
        ({"exact": True, "num_candidates": 50}, "leave num_candidates out"),
        ({"limit": 20, "num_candidates": 10}, "from the limit, 20, to 10000"),
    ]
    for options, message in refusals:
        with pytest.raises(QueryRefused, match=message):
            workshop.search("a hat", **options)


def test_an_answer_without_hits_names_its_cause(workshop):
    workshop.run()
    found = workshop.search("a hat", filter={"kind": "opera"})
    assert found.hits == []
    assert "pass" in found.why_empty
    assert "filter" in found.why_empty


def test_explain_shows_what_was_sent_without_the_vector(workshop):
    workshop.run()
    found = workshop.search("a hat", limit=3, filter={"kind": "hat"})
    ((name, stage),) = found.stage.items()
    assert (name == "$vectorSearch") == (found.engine == "mongodb")
    assert found.engine == workshop.settings["search_index"]["engine"]
    assert stage["limit"] == 3
    assert stage["numCandidates"] == 100
    assert "hat" in str(stage["filter"])
    assert len(str(stage)) < 800
    assert "cosine" in found.scored_by or "dot product" in found.scored_by


def test_a_changed_document_is_found_by_its_new_text_only(workshop):
    workshop.run()
    changed = [dict(row) for row in DOCUMENTS]
    changed[0]["text"] = "a purple lantern"
    workshop.write(changed)
    assert workshop.run().success
    # Real search nodes follow an update within a second or so; a count cannot show it.
    for _ in range(600):
        first = workshop.search("purple lantern", limit=1).hits[0]
        if first.id == DOCUMENTS[0]["_id"]:
            break
        time.sleep(0.5)
    assert first.id == DOCUMENTS[0]["_id"]
    assert workshop.search(DOCUMENTS[0]["text"], limit=1).hits[0].score < 0.9999
