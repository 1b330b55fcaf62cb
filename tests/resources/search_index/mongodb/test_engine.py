"""The life of an index on the server: created, updated, waited for, explained.

Against the stand-in of `tests/search_node`: what it cannot prove is written there.
"""

from typing import Any

import numpy as np
import pytest

from resources.core.errors import EmbeddingsError, QueryRefused, SearchIndexError
from resources.core.vectors import to_bson
from resources.search_index.engine import Coverage
from resources.search_index.mongodb.waiting import LINGERING
from resources.search_index.query import Query
from tests.resources.search_index.mongodb.bench import COUNT, SPACE, vector


def test_a_missing_index_is_created_and_waited_for(bench):
    bench.node.build_polls = 3
    report = bench.engine().reconcile(bench.lines.append)
    assert (report.changed, report.stored, report.indexed) == (True, COUNT, COUNT)
    assert report.engine == "mongodb"
    assert any("BUILDING" in line for line in bench.lines)
    (created,) = bench.sent("createSearchIndexes")
    assert created["indexes"] == [
        {
            "name": "vector_index",
            "type": "vectorSearch",
            "definition": {
                "fields": [
                    {
                        "type": "vector",
                        "path": "embedding",
                        "numDimensions": 8,
                        "similarity": "dotProduct",
                    },
                    {"type": "filter", "path": "kind"},
                    {"type": "filter", "path": "embedding_lineage.space"},
                ]
            },
        }
    ]


def test_an_equal_index_is_left_alone(bench):
    bench.engine().reconcile(bench.lines.append)
    report = bench.engine().reconcile(bench.lines.append)
    assert not report.changed
    assert len(bench.sent("createSearchIndexes")) == 1
    assert bench.sent("updateSearchIndex") == []


def test_the_collection_comes_before_the_index(bench):
    bench.store.collection.drop()
    report = bench.engine().reconcile(bench.lines.append)
    assert (report.stored, report.indexed) == (0, 0)


def test_a_changed_declaration_is_waited_for_by_its_version(bench):
    bench.engine().reconcile(bench.lines.append)
    bench.node.build_polls = 4
    report = bench.engine(
        similarity="euclidean", quantization="scalar", max_edges=32, stored_source_include=["kind"]
    ).reconcile(bench.lines.append)
    assert report.changed
    assert report.details["definition version"] == 1
    # queryable all the while, which is no sign that the new definition serves
    assert any("similarity is dotProduct, not euclidean" in line for line in bench.lines)
    assert any("BUILDING" in line for line in bench.lines)
    (update,) = bench.sent("updateSearchIndex")
    assert update["definition"]["fields"][0]["hnswOptions"]["maxEdges"] == 32
    assert update["definition"]["storedSource"] == {"include": ["kind"]}
    bench.engine(
        similarity="euclidean", quantization="scalar", max_edges=32, stored_source_include=["kind"]
    ).reconcile(bench.lines.append)
    assert len(bench.sent("updateSearchIndex")) == 1


def test_a_failed_build_says_why_and_is_mended_by_the_next_run(bench):
    bench.node.statuses, bench.node.failure = ["BUILDING", "FAILED"], "out of disk"
    with pytest.raises(SearchIndexError, match=r"FAILED: out of disk.*embeddings index drop"):
        bench.engine().reconcile(bench.lines.append)
    assert bench.engine().reconcile(bench.lines.append).changed


@pytest.mark.parametrize("status", ["FAILED", "READY"])
def test_a_definition_sent_again_has_arrived_with_a_later_version(bench, monkeypatch, status):
    """What is listed looks the same before and after: only the version tells."""
    bench.node.statuses = ["FAILED"]
    with pytest.raises(SearchIndexError, match="FAILED"):
        bench.engine().reconcile(bench.lines.append)
    index = bench.node.indexes.find(bench.store.collection.database.name, "vectors", "vector_index")
    before, entry = index.entry(COUNT), index.entry
    left = [{**before, "status": status}] * (2 * LINGERING)

    def late(documents: int) -> dict[str, Any]:
        sent = bench.sent("updateSearchIndex")
        return left.pop() if sent and left else entry(documents)

    monkeypatch.setattr(index, "entry", late)
    first = before["latestDefinitionVersion"]["version"]
    report = bench.engine().reconcile(bench.lines.append)
    assert report.changed
    assert report.details["definition version"] == first + 1
    assert not left


def test_an_index_that_recovers_serves_after_the_timeout(bench):
    bench.engine().reconcile(bench.lines.append)
    bench.node.statuses = ["STALE"]
    report = bench.engine(similarity="cosine", timeout_seconds=0.1).reconcile(bench.lines.append)
    assert report.details["status"] == "STALE"
    assert any("may lack the latest changes" in line for line in bench.lines)


def test_a_build_that_takes_too_long_is_an_error_and_goes_on(bench):
    bench.node.build_polls = 100_000
    with pytest.raises(SearchIndexError, match=r"is BUILDING after .* Run again to go on waiting"):
        bench.engine(timeout_seconds=0.1).reconcile(bench.lines.append)
    assert len(bench.sent("createSearchIndexes")) == 1


def test_an_index_being_deleted_is_waited_for_and_made_anew(bench):
    bench.engine().reconcile(bench.lines.append)
    bench.node.delete_polls = 3
    bench.store.collection.drop_search_index("vector_index")
    report = bench.engine().reconcile(bench.lines.append)
    assert report.changed
    assert len(bench.sent("createSearchIndexes")) == 2


def test_an_index_that_does_not_exist_any_more_is_made_anew(bench):
    bench.engine().reconcile(bench.lines.append)
    index = bench.node.indexes.find(bench.store.collection.database.name, "vectors", "vector_index")
    index.status = "DOES_NOT_EXIST"
    with pytest.raises(EmbeddingsError):
        bench.engine(timeout_seconds=0.1).reconcile(bench.lines.append)
    assert len(bench.sent("createSearchIndexes")) == 2


def test_an_index_of_another_type_is_not_touched(bench):
    bench.client[bench.store.collection.database.name].command(
        "createSearchIndexes",
        "vectors",
        indexes=[{"name": "vector_index", "definition": {"mappings": {"dynamic": True}}}],
    )
    with pytest.raises(SearchIndexError, match="of type search, not vectorSearch"):
        bench.engine().reconcile(bench.lines.append)


def test_no_room_for_another_index_names_those_there_are(bench):
    bench.engine(name="first").reconcile(bench.lines.append)
    bench.node.max_indexes = 1
    with pytest.raises(
        SearchIndexError, match=r"no further search index.*vectors:first.*index drop"
    ):
        bench.engine(name="second").reconcile(bench.lines.append)


def test_of_two_that_create_it_at_once_the_later_updates_it(bench):
    bench.engine(similarity="cosine").reconcile(bench.lines.append)
    engine: Any = bench.engine(similarity="euclidean")
    definition = {**bench.sent("createSearchIndexes")[0]["indexes"][0]["definition"]}
    definition["fields"] = [{**definition["fields"][0], "similarity": "euclidean"}]
    engine._vectors.create(definition, bench.lines.append)
    assert [body["definition"] for body in bench.sent("updateSearchIndex")] == [definition]


def test_search_nodes_that_do_not_answer_are_named(bench):
    engine = bench.engine()
    engine.reconcile(bench.lines.append)
    down = "Error connecting to Search Index Management service."
    bench.node.fail_next("$listSearchIndexes", 125, "CommandFailed", down)
    with pytest.raises(SearchIndexError, match="search nodes do not answer"):
        engine.coverage()


def test_a_deployment_without_search_falls_back_only_where_it_may(bench):
    bench.node.enabled = False
    with pytest.raises(SearchIndexError, match=r"Atlas Local image.*engine: local"):
        bench.engine()
    engine = bench.engine(engine="auto")
    assert engine.name == "local"
    assert any("the local engine serves the index" in line for line in bench.lines)
    bench.node.enabled = True
    assert bench.engine(engine="auto").name == "mongodb"


def test_documents_on_their_way_are_told_from_those_left_out(bench):
    engine = bench.engine(similarity="cosine")
    engine.reconcile(bench.lines.append)
    assert engine.coverage() == Coverage(COUNT, COUNT, "")
    bench.node.lag = 2
    late = engine.coverage()
    assert (late.stored, late.indexed) == (COUNT, COUNT - 2)
    assert "2 documents of" in late.why
    assert "still catching up" in late.why
    for stored in (COUNT, None):
        glance = engine.glance(stored)
        assert (glance.stored, glance.indexed) == (COUNT, COUNT - 2)
        assert "2 documents of" in glance.why
    bench.node.lag = 0
    assert engine.glance(None) == Coverage(COUNT, COUNT, "")
    bad = {
        0: to_bson(np.zeros(8, np.float32), "float32"),
        1: to_bson(np.ones(4, np.float32), "float32"),
        2: "text",
    }
    for key, value in bad.items():
        bench.store.collection.update_one({"_id": key}, {"$set": {"embedding": value}})
    found = engine.coverage()
    assert (found.stored, found.indexed) == (COUNT, COUNT - 3)
    for reason in ("all zeros", "not of 8 dimensions", "no vector"):
        assert reason in found.why
    assert f"3 of {COUNT} stored vectors are not in the index" in found.why


def test_a_clean_look_is_not_repeated_until_the_store_changes(bench):
    def changed(revision: str) -> None:
        bench.client[bench.database]["vector_stores"].update_one(
            {"_id": str(bench.store.key)}, {"$set": {"revision": revision}}, upsert=True
        )

    changed("first")
    engine = bench.engine()
    engine.reconcile(bench.lines.append)
    assert engine.coverage(thorough=False).why == ""
    bench.store.collection.update_one({"_id": 0}, {"$set": {"embedding": "by somebody else"}})
    assert engine.coverage(thorough=False).why == ""
    assert "no vector" in engine.coverage().why
    changed("second")
    assert "no vector" in engine.coverage(thorough=False).why


def test_documents_without_a_vector_are_no_difference(bench):
    """As in a collection whose documents hold their vectors in place."""
    bench.store.collection.insert_many([{"_id": f"bare {n}"} for n in range(5)])
    engine = bench.engine()
    report = engine.reconcile(bench.lines.append)
    assert (report.stored, report.indexed) == (COUNT, COUNT)
    assert engine.coverage() == Coverage(COUNT, COUNT, "")


@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        ("float32", {}),
        ("array", {"similarity": "cosine"}),
        ("int8", {}),
        ("packed_bit", {"similarity": "euclidean"}),
    ],
)
def test_every_dtype_is_asked_in_its_own(bench, dtype, settings):
    bench.store = bench.open(dtype=dtype)
    bench.fill()
    engine = bench.engine(**settings)
    engine.reconcile(bench.lines.append)
    main, _, _ = bench.store.format.fields(vector(5)[None])
    assert engine.serve().nearest(main[0], Query(limit=3))[0].id == 5
    assert engine.serve().nearest(main[0], Query(limit=3, exact=True))[0].id == 5
    (stage,) = [
        body["pipeline"][0]["$vectorSearch"]
        for body in bench.node.commands
        if "numCandidates" in str(body)
    ]
    assert stage["numCandidates"] == 100
    assert stage["filter"] == {"embedding_lineage.space": SPACE.id}


def test_a_search_never_leaves_its_space(bench):
    engine = bench.engine()
    engine.reconcile(bench.lines.append)
    bench.store.collection.update_one({"_id": 5}, {"$set": {"embedding_lineage.space": "other"}})
    assert 5 not in {hit.id for hit in engine.serve().nearest(vector(5), Query(limit=COUNT))}


def test_a_query_that_would_find_nothing_is_refused(bench):
    engine = bench.engine(similarity="cosine")
    engine.reconcile(bench.lines.append)
    for query, message in [
        (np.zeros(8, np.float32), "all zeros"),
        (np.ones(4, np.float32), "8 dimensions, the query 4"),
        (np.full(8, np.nan, np.float32), "NaN"),
    ]:
        with pytest.raises(QueryRefused, match=message):
            engine.serve().nearest(query, Query(limit=3))
    with pytest.raises(QueryRefused, match="'year', which is not a filter field"):
        engine.serve().nearest(vector(1), Query(limit=3, filter={"year": 1990}))


def test_silence_has_a_cause(bench):
    engine = bench.engine()
    assert "there is no index" in engine.serve().why_empty(Query(10))
    engine.reconcile(bench.lines.append)
    assert engine.serve().why_empty(Query(10)) == ""
    assert "passes the filter" in engine.serve().why_empty(Query(10, filter={"kind": "opera"}))
    bench.store = bench.open(dtype="int8")
    assert "the stored vectors are float32, the query int8" in bench.engine().serve().why_empty(
        Query(10)
    )
    bench.store.collection.delete_many({})
    assert "holds no vector of the space" in engine.serve().why_empty(Query(10))
    bench.store.collection.drop_search_index("vector_index")
    bench.node.indexes.find(
        bench.store.collection.database.name, "vectors", "vector_index"
    ).script = ["DELETING"] * 9
    assert "there is no index" in engine.serve().why_empty(Query(10))


def test_a_cut_connection_is_tried_again_by_the_driver(bench):
    engine = bench.engine()
    engine.reconcile(bench.lines.append)
    bench.node.sever_next("$vectorSearch")
    assert engine.serve().nearest(vector(3), Query(limit=1))[0].id == 3
