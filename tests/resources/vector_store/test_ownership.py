"""Nobody's document is touched but ours: generated collections, generated writes, two servers."""

import secrets
from datetime import UTC, datetime

import bson
import numpy as np
import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resources.core.chunks import Chunk, size_of
from resources.core.lineage import Lineage, lineage_path
from resources.core.space import EmbeddingSpace
from resources.sources.collection import CollectionOrigin
from resources.sources.inline import TextsOrigin
from resources.sources.resource import SourceResource
from resources.vector_store.ownership import INSERTED_FIELD, lineages, nothing_but
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore, at_path
from resources.vector_store.writer import VectorWriter

SPACE = EmbeddingSpace("p", "model", "", 4, "", normalized=False)
AT = datetime(2026, 11, 23, tzinfo=UTC)
VECTOR = np.ones(4, np.float32)
TEXTS = ("one", "two")
IDS = ("a", "b", "c", 4)
PATHS = ("embedding", "second", "ai.vec", "ai.other")
PIPELINES = ("blue", "green")

FOREIGN = st.fixed_dictionaries(
    {},
    optional={
        "text": st.sampled_from(TEXTS),
        "note": st.integers(0, 3),
        "embedding": st.sampled_from([None, [0.5], "x"]),
        "ai": st.sampled_from([5, {}, {"mine": 1}]),
        "data_lineage": st.just({"space": "mine"}),
        "source_id": st.just("somebody"),
    },
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "delete", "refresh", "withdraw", "mark"]),
        st.sampled_from(PIPELINES),
        st.sampled_from(PATHS),
        st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(TEXTS)), min_size=1, max_size=4),
        st.sampled_from([{}, {"kind": "x"}, {"kind": "y"}]),
    ),
    max_size=8,
)


@pytest.fixture
def collection(mongodb_uri):
    with pymongo.MongoClient(mongodb_uri) as client:
        name = f"test_{secrets.token_hex(4)}"
        yield client[name]["documents"]
        client.drop_database(name)


def opened(collection, pipeline: str, path: str, *, in_place: bool = False) -> VectorStore:
    where = (collection.database.name, collection.name)
    resource = VectorStoreResource(path=path, in_place=True)
    origin = CollectionOrigin(database=where[0], collection=where[1])
    if not in_place:
        resource = VectorStoreResource(database=where[0], collection=where[1], path=path)
        origin = TextsOrigin(documents=[])
    source = SourceResource(origin=origin, carry=["kind"])
    return resource.open(
        collection.database.client, source, SPACE, pipeline, scale_of=lambda _: None
    )


def step(store: VectorStore, what: str, pairs, fields) -> list:
    writer = VectorWriter(store)
    chunks = {chunk_id: Chunk.whole(chunk_id, text, fields) for chunk_id, text in pairs}
    rows = [
        (chunk, VECTOR, Lineage("space", "model", chunk.text_hash, "batch", "run", AT))
        for chunk in chunks.values()
    ]
    match what:
        case "write":
            writer.write(rows)
        case "delete":
            writer.delete(list(chunks))
        case "refresh":
            writer.refresh(list(chunks.values()))
        case "withdraw":
            writer.withdraw([(chunk, True) for chunk in chunks.values()], "space")
        case "mark":
            writer.mark([])
    return [chunk.id for chunk, _ in writer.aside]


def contents(collection) -> dict:
    return {str(document["_id"]): document for document in collection.find()}


def others(document: dict, store: VectorStore) -> dict:
    """Vectors and lineages of other pipelines, by path."""
    found = {}
    for path in PATHS:
        lineage = at_path(document, lineage_path(path))
        if isinstance(lineage, dict) and lineage.get("pipeline") not in (None, store.pipeline):
            found[path] = (at_path(document, path), lineage)
    return found


@settings(max_examples=60, suppress_health_check=list(HealthCheck), deadline=None)
@given(foreign=st.dictionaries(st.sampled_from(IDS), FOREIGN, max_size=3), steps=STEPS)
def test_documents_of_others_stay_as_they_are(collection, foreign, steps):
    collection.drop()
    for document_id, fields in foreign.items():
        collection.insert_one({"_id": document_id, **fields})
    theirs = contents(collection)
    for what, pipeline, path, pairs, fields in steps:
        store = opened(collection, pipeline, path)
        before = contents(collection)
        aside = step(store, what, pairs, fields)
        after = contents(collection)
        for name, document in theirs.items():
            assert bson.encode(after[name]) == bson.encode(document), "a foreign document"
        for name, document in before.items():
            kept = others(document, store)
            if name not in after:
                assert INSERTED_FIELD in document, "only what we inserted is deleted"
                assert not kept, "somebody's vector was in it"
                continue
            assert others(after[name], store) == kept, "another pipeline's vector"
            if kept and document.get(INSERTED_FIELD) != pipeline:
                shared = ("text", "kind", "source_id")
                assert [after[name].get(field) for field in shared if field in document] == [
                    document[field] for field in shared if field in document
                ], "what another pipeline wrote"
        if what == "write":
            for chunk_id, text in dict(pairs).items():
                found = after.get(str(chunk_id), {})
                lineage = at_path(found, store.lineage_path)
                made = Chunk.whole(chunk_id, text, fields)
                hashes = (made.text_hash, made.fields_hash)  # an older one may have the same text
                written = isinstance(lineage, dict) and hashes == (
                    lineage["text_hash"], lineage["fields_hash"]
                )  # fmt: skip
                assert (written and lineage["pipeline"] == pipeline) != (chunk_id in aside), (
                    "either it is written, or it stands aside"
                )


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(theirs=st.dictionaries(st.sampled_from(IDS), FOREIGN, min_size=1, max_size=4), steps=STEPS)
def test_in_place_nothing_else_in_a_document_changes(collection, theirs, steps):
    collection.drop()
    for document_id, fields in theirs.items():
        collection.insert_one({"_id": document_id, **fields})
    before = contents(collection)
    for what, pipeline, path, pairs, _ in steps:
        store = opened(collection, pipeline, path, in_place=True)
        was = contents(collection)
        step(store, what, pairs, {})
        for name, document in contents(collection).items():
            assert others(document, store) == others(was[name], store)
    after = contents(collection)
    assert after.keys() == before.keys(), "in place nothing is inserted and nothing deleted"
    for name, document in after.items():
        for field, value in before[name].items():
            if (field, value) == ("embedding", None):
                continue  # a place kept free for a vector
            if field == "ai" and isinstance(value, dict):
                assert {"ai": {k: v for k, v in document["ai"].items() if k in value}} == {
                    "ai": value
                }
            else:
                assert document[field] == value
        left = set(document) - set(before[name])
        assert left <= {path.split(".")[0] for path in PATHS} | {
            lineage_path(path).split(".")[0] for path in PATHS
        }


@pytest.mark.parametrize(
    ("document", "inside"),
    [
        ({"text": "t"}, True),
        ({"text": "t", "note": 1}, False),
        ({"ai": {"vec": 1}}, True),
        ({"ai": {"vec": 1, "x": 1}}, False),
        ({"ai": 5}, True),
        ({"ai": {"vec": {"deep": 1}}}, True),
        ({"a": {"b": {"c": 1}}}, True),
        ({"a": {"b": {"c": 1, "d": 2}}}, False),
        ({"a": {"x": {"c": 1}}}, False),
        ({}, True),
    ],
)
def test_documents_that_hold_nothing_but_some_paths_are_found(collection, document, inside):
    collection.insert_one({"_id": 1, **document})
    found = collection.find_one(nothing_but(["_id", "text", "ai.vec", "a.b.c"]))
    assert bool(found) == inside


def test_lineages_are_found_at_any_path():
    made = {"space": "s", "batch": "b", "pipeline": "p"}
    document = {
        "x_lineage": made, "ai_lineage": {"vec": made, "deep": {"er": made}},
        "data_lineage": {"space": "mine"}, "lineage": made, "y_lineage": 5,
    }  # fmt: skip
    assert len(list(lineages(document))) == 3


@pytest.mark.parametrize("size", [10, 50_000])
def test_two_pipelines_share_a_document_while_they_agree_however_large_it_is(collection, size):
    text, payload = "t" * size, "x" * size
    pair = [("a", text)]
    assert not step(opened(collection, "blue", "embedding"), "write", pair, {"kind": payload})
    second = opened(collection, "green", "second")
    assert not step(second, "write", pair, {"kind": payload})
    step(second, "withdraw", [("a", text + "!")], {})
    assert step(second, "write", [("a", text + "!")], {"kind": payload}) == ["a"]
    assert step(second, "write", pair, {"kind": payload + "!"}) == ["a"]


def test_of_what_is_set_aside_only_the_beginning_is_kept(collection):
    collection.insert_one({"_id": "a", "note": "somebody's"})
    writer = VectorWriter(opened(collection, "blue", "embedding"))
    chunk = Chunk.whole("a", "t" * 50_000, {"kind": "x" * 50_000})
    lineage = Lineage("space", "model", chunk.text_hash, "batch", "run", AT)
    assert writer.write([(chunk, VECTOR, lineage)]) == 0
    ((kept, reason),) = writer.aside
    assert (kept.id, reason[:10]) == ("a", "a document")
    assert size_of(kept) < 2_000
