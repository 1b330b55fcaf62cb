"""After any history a local index answers like one that was built afresh, ties included."""

import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pymongo
import pytest
from bson import Decimal128, ObjectId
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.search_index.query import Hit, Query
from tests.resources.search_index.local.stored import Stored

DIMENSIONS = 8
FORMATS: list[tuple[Any, Any]] = [
    ("float32", "cosine"),
    ("float32", "dotProduct"),
    ("float32", "euclidean"),
    ("int8", "cosine"),
    ("int8", "dotProduct"),
    ("int8", "euclidean"),
    ("packed_bit", "euclidean"),
]
IDS = [*range(12), "a", "b", "B", "é", 2.5, Decimal128("2.75"), None,
       ObjectId("656565656565656565656565"), ObjectId("656565656565656565656566")]  # fmt: skip
KINDS = [None, "a", "b", 1, 1.0, 2**60, ["a", 1], True, Decimal128("0.1")]
FILTERS: list[dict[str, Any] | None] = [
    None,
    {"kind": "a"},
    {"kind": {"$gte": 1}},
    {"kind": {"$exists": False}},
    {"kind": {"$ne": None}},
]


def vector(element: str, seed: int) -> np.ndarray:
    """Few different ones, so that many score the same."""
    values = np.random.default_rng(seed).integers(-1, 2, DIMENSIONS)
    if element == "packed_bit":
        return np.packbits(values > 0)
    values[seed % DIMENSIONS] = 2  # never all zeros
    return values.astype(np.int8 if element == "int8" else np.float32)


seeds = st.integers(0, 7)
few = st.sets(st.integers(0, len(IDS) - 1), min_size=1, max_size=4)
steps = st.one_of(
    st.tuples(st.just("put"), few, seeds,
              st.sampled_from(KINDS)),
    st.tuples(st.just("delete"), few),
    st.tuples(st.just("field"), st.integers(0, len(IDS) - 1), st.sampled_from(KINDS)),
    st.tuples(st.just("index")),
    st.tuples(st.just("merge")),
)  # fmt: skip


def play(stored: Stored, engine: Any, step: tuple) -> None:
    match step:
        case "put", ids, seed, kind:
            vectors = [(IDS[n], vector(stored.element, seed + n % 3)) for n in ids]
            stored.put(vectors, **({} if kind is None else {"kind": kind}))
        case "delete", ids:
            stored.delete(*(IDS[n] for n in ids))
        case "field", n, kind:  # by the documents' owner; no lineage tells
            stored.store.collection.update_one({"_id": IDS[n]}, {"$set": {"kind": kind}})
            stored.changed()
        case ("index",):
            engine.reconcile(lambda line: None)
        case ("merge",):
            engine.reconcile(lambda line: None)
            engine.merge(lambda line: None)


def answers(engine: Any, element: str) -> list[list[Hit]]:
    served = engine.serve()
    return [
        served.nearest(vector(element, seed), Query(limit=limit, filter=chosen, exact=True))
        for seed in range(4)
        for limit in (1, 3, 100)
        for chosen in FILTERS
    ]


@pytest.fixture
def empty(mongod_uri: str) -> Iterator[pymongo.database.Database]:
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri)
    database = client[f"histories_{ObjectId()}"]
    yield database
    client.drop_database(database)
    client.close()


@pytest.mark.parametrize(("element", "similarity"), FORMATS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(history=st.lists(steps, max_size=14), exact_below=st.sampled_from([0, 5, 1000]))
def test_a_history_and_a_fresh_index_answer_alike(
    empty: pymongo.database.Database,
    element: Any,
    similarity: Any,
    history: list[tuple],
    exact_below: int,
) -> None:
    for name in ("vectors", "vector_stores", "search_indexes"):
        empty[name].delete_many({})
    folder = tempfile.mkdtemp(prefix="histories-")
    stored = Stored(empty, folder, dimensions=DIMENSIONS, element=element)
    declared = {"similarity": similarity, "exact_below": exact_below}
    engine = stored.engine(**declared)
    # Most of it stays through the history; where more changed than not, all is read anew.
    for step in [("put", range(len(IDS)), 0, "a"), ("index",), *history]:
        play(stored, engine, step)
    report = engine.reconcile(lambda line: None)
    fresh = stored.engine("fresh", **declared)
    fresh.reconcile(lambda line: None)
    assert report.indexed == report.stored == stored.store.count_space(stored.space.id)
    assert report.details["segments"] <= 8
    assert answers(engine, element) == answers(fresh, element)
    again = engine.reconcile(lambda line: None)
    assert not again.changed
    shutil.rmtree(folder)
