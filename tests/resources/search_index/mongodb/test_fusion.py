"""Both searches fused: by the server where it can, else by us, with the same result."""

import threading
from typing import Any

import pytest
from pymongo.errors import OperationFailure

from resources.core.errors import QueryRefused, SearchIndexError
from resources.search_index.mongodb import server_fusion
from resources.search_index.query import Hit, Query
from tests.resources.search_index.mongodb.bench import COUNT, SPACE, vector

TEXT: dict[str, Any] = {"text": {}}
WORDS = ["lion", "lion king", "ship", "ship of ice", "king of ice", "lion lion ship"]


@pytest.fixture
def filled(bench):
    for number, words in enumerate(WORDS):
        bench.store.collection.update_one({"_id": number}, {"$set": {"text": words}})
    bench.engine(**TEXT).reconcile(bench.lines.append)
    return bench


def stages(bench, name: str) -> list[dict[str, Any]]:
    return [
        body["pipeline"]
        for body in bench.node.commands
        if name in (body.get("pipeline") or [{}])[0]
    ]


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.2, 3.0), (0.0, 1.0), (1, 0)])
@pytest.mark.parametrize("text", ["lion", "ship ice", "opera", " ", "the king's ship"])
def test_the_server_and_we_come_to_the_same(filled, weights, text):
    query = Query(6, weights=weights, mode="hybrid")
    ours = filled.engine(**TEXT).serve().fused(text, vector(2), query, ["kind"])
    assert stages(filled, "$rankFusion") == [], "a mongod 6.0 knows none"
    filled.node.version = "8.0.4"
    theirs = filled.engine(**TEXT).serve().fused(text, vector(2), query, ["kind"])
    assert len(stages(filled, "$rankFusion")) == bool(text.strip())
    assert len(ours) == 6
    # Of one score the server gives the documents one rank, we the lower id the lower one.
    # And what has no weight at all comes in any order.
    for hit, other in zip(ours, theirs, strict=True):
        assert hit.document == {"_id": hit.id, "kind": "odd" if hit.id % 2 else "even"}
        if text in ("lion", "ship ice") and hit.score > 0:
            assert hit.id == other.id
            assert hit.score == pytest.approx(other.score)
            assert hit.ranks == other.ranks
    assert [hit.score for hit in theirs] == sorted((hit.score for hit in theirs), reverse=True)


def test_one_trip_brings_places_fields_and_the_best(filled):
    filled.node.version = "8.2.0"
    served = filled.engine(**TEXT).serve()
    filled.node.commands.clear()
    query = Query(3, {"kind": "even"}, weights=(2, 1), mode="hybrid")
    hits = served.fused("ship", vector(4), query, ["text"])
    assert hits[0].document == {"_id": 2, "text": "ship"}
    assert hits[0].ranks["text"] == 1
    assert {hit.id % 2 for hit in hits} == {0}
    assert {4} <= {hit.id for hit in hits if hit.ranks.get("vector") == 1}
    assert any("text" not in hit.ranks for hit in hits)
    (pipeline,) = stages(filled, "$rankFusion")
    assert len(filled.node.commands) == 1, "one trip"
    fusion = pipeline[0]["$rankFusion"]
    assert fusion["combination"] == {"weights": {"vector": 2, "text": 1}}
    assert fusion["scoreDetails"] is True
    inputs = fusion["input"]["pipelines"]
    assert [next(iter(stage)) for stage in inputs["text"]] == ["$search", "$match", "$limit"]
    assert "sort" not in inputs["text"][0]["$search"]
    assert inputs["text"][-1]["$limit"] == inputs["vector"][0]["$vectorSearch"]["limit"] == 100
    assert SPACE.id in str(inputs["vector"])
    assert SPACE.id in str(inputs["text"])
    assert pipeline[1] == {"$limit": 3}
    assert served.fused("ship", vector(4), query)[0].document is None


def test_another_constant_is_summed_up_by_us(filled):
    filled.node.version = "8.2.0"
    served = filled.engine(**TEXT).serve()
    hits = served.fused("ship", vector(2), Query(3, rank_constant=1, mode="hybrid"))
    assert stages(filled, "$rankFusion") == []
    assert hits[0].id == 2
    assert hits[0].score == pytest.approx(1 / 2 + 1 / (1 + hits[0].ranks["text"]))


def test_by_us_both_are_asked_at_once(filled, monkeypatch):
    served: Any = filled.engine(**TEXT).serve()
    meet = threading.Barrier(2, timeout=60)

    def waiting(*_: Any) -> list[Hit]:
        meet.wait()
        return [Hit(1, 1.0)]

    monkeypatch.setattr(served, "nearest", waiting)
    monkeypatch.setattr(served, "matching", waiting)
    (hit,) = served.fused("ship", vector(2), Query(3, mode="hybrid"))
    assert hit.ranks == {"vector": 1, "text": 1}


@pytest.mark.parametrize(
    ("code", "name", "message"),
    [
        (40324, "Location40324", "Unrecognized pipeline stage name: '$rankFusion'"),
        (224, "QueryFeatureNotAllowed", "no such feature in this FCV"),
        (8, "UnknownError", "$rankFusion is not allowed with the current configuration"),
    ],
)
def test_a_server_that_has_it_switched_off_is_asked_once(filled, code, name, message):
    filled.node.version = "8.0.0"
    served = filled.engine(**TEXT).serve()
    filled.node.fail_next("$rankFusion", code, name, message)
    for _ in range(2):
        assert served.fused("ship", vector(2), Query(3, mode="hybrid"))[0].id == 2
    assert len(stages(filled, "$rankFusion")) == 1


def test_another_refusal_is_none_of_that(filled):
    filled.node.version = "8.0.0"
    served = filled.engine(**TEXT).serve()
    filled.node.fail_next("$rankFusion", 50, "MaxTimeMSExpired", "too slow")
    with pytest.raises(SearchIndexError, match="too slow"):
        served.fused("ship", vector(2), Query(3, mode="hybrid"))


def test_a_mode_that_is_not_there_is_refused_before_anything_is_sent(bench):
    bench.engine().reconcile(bench.lines.append)
    served = bench.engine().serve()
    bench.node.commands.clear()
    with pytest.raises(QueryRefused, match="holds vectors only"):
        served.fused("ship", vector(2), Query(3, mode="hybrid"))
    with pytest.raises(QueryRefused, match="holds vectors only"):
        served.explain(vector(2), "ship", Query(3, mode="hybrid"))
    assert bench.node.commands == []


def test_a_switch_of_spaces_is_never_a_mix(filled):
    filled.store.collection.update_many(
        {"_id": {"$in": [0, 1, 4]}}, {"$set": {"embedding_lineage.space": "the next one"}}
    )
    for filled.node.version in (None, "8.2.0"):
        hits = filled.engine(**TEXT).serve().fused("lion", vector(1), Query(COUNT, mode="hybrid"))
        assert {hit.id for hit in hits} == set(range(COUNT)) - {0, 1, 4}


def test_explain_shows_the_fusion_without_the_vector(filled):
    query = Query(3, mode="hybrid")
    shown = filled.engine(**TEXT).serve().explain(vector(2), "ship", query)
    assert list(shown["reciprocal rank fusion"]) == ["vector", "text"]
    filled.node.version = "8.2.0"
    shown = filled.engine(**TEXT).serve().explain(vector(2), "ship", query)
    assert "float32 x 8" in str(shown["$rankFusion"]["input"]["pipelines"]["vector"])


# --- by scores


SCORE: dict[str, Any] = {"text": {"fusion": "score"}}


def test_scores_are_added_up_where_that_is_wanted(filled):
    filled.node.version = "8.3.0"
    served = filled.engine(**SCORE).serve()
    ranked = served.nearest(vector(2), Query(100))
    worded = served.matching("lion ship", Query(100))

    def normal(hits: list[Hit]) -> dict[Any, float]:
        low, high = hits[-1].score, hits[0].score
        return {hit.id: (hit.score - low) / (high - low) for hit in hits}

    query = Query(5, weights=(1, 3), rank_constant=7, mode="hybrid")
    hits = served.fused("lion ship", vector(2), query, ["text"])
    vectors, words = normal(ranked), normal(worded)
    for hit in hits:
        wanted = (vectors[hit.id] + 3 * words.get(hit.id, 0)) / 2
        assert hit.score == pytest.approx(wanted, abs=1e-6)
        assert hit.ranks["vector"] == [each.id for each in ranked].index(hit.id) + 1
        better = [each for each in worded if each.score > _score(worded, hit.id)]
        assert hit.ranks.get("text") == (len(better) + 1 if hit.id in words else None)
        text = WORDS[hit.id] if hit.id < len(WORDS) else f"text {hit.id}"
        assert hit.document == {"_id": hit.id, "text": text}
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert "mean of weight x score" in served.fused_by("lion ship", query)
    # Without a word there is nothing to bring to 0..1: places are added up.
    assert "sum of weight / (7 + rank)" in served.fused_by(" \n", query)
    assert served.fused(" \n", vector(2), query)[0].score == pytest.approx(1 / (7 + 1))
    assert list(stages(filled, "$scoreFusion")[0][0]["$scoreFusion"]["input"]["pipelines"]) == [
        "vector", "text"
    ]  # fmt: skip


def _score(hits: list[Hit], key: Any) -> float:
    return next((hit.score for hit in hits if hit.id == key), 0.0)


@pytest.mark.parametrize("version", [None, "8.0.0", "8.2.9"])
def test_a_server_that_cannot_add_up_scores_is_refused(filled, version):
    filled.node.version = version
    with pytest.raises(QueryRefused, match=r"MongoDB 8\.3 or later, and this is .*: remove it"):
        filled.engine(**SCORE).serve().fused("lion", vector(2), Query(3, mode="hybrid"))
    with pytest.raises(QueryRefused, match=r"needs MongoDB 8\.3"):
        filled.engine(**SCORE).serve().check(Query(3, mode="hybrid"))
    filled.engine(**SCORE).serve().check(Query(3, mode="text"))
    declared: Any = filled.engine(**SCORE)._declared
    with pytest.raises(SearchIndexError, match=r"needs MongoDB 8\.3"):
        declared.check_deployment(filled.client, filled.database, "float32")
    filled.node.version = "8.3.1"
    declared.check_deployment(filled.client, filled.database, "float32")
    filled.node.enabled = False
    with pytest.raises(SearchIndexError):
        declared.check_deployment(filled.client, filled.database, "float32")


def test_hits_are_read_from_what_servers_say():
    details = [
        {"inputPipelineName": "vector", "rank": 2.0, "weight": 1},
        {"inputPipelineName": "text", "rank": "NA"},
    ]
    rows = [{"_id": 1, "a": 2, "__details": {"value": 0.5, "details": details}}]
    assert server_fusion.hits(rows, documents=True) == [
        Hit(1, 0.5, document={"_id": 1, "a": 2}, ranks={"vector": 2})
    ]


# --- the stand-in


def refused(bench, stage: dict[str, Any]) -> str:
    with pytest.raises(OperationFailure) as caught:
        list(bench.store.collection.aggregate([{"$rankFusion": stage}]))
    return str(caught.value)


def test_the_stand_in_refuses_what_the_server_does(filled):
    filled.node.version = "8.0.0"
    search = {"$search": {"index": "vector_index_text", "text": {"query": "a", "path": "text"}}}
    stored = {"$search": {**search["$search"], "returnStoredSource": True}}
    for pipelines, weights, message in [
        ({}, {}, "at least one input pipeline"),
        ({"": [search]}, {}, "pipeline names"),
        ({"$a": [search]}, {}, "pipeline names"),
        ({"a.b": [search]}, {}, "pipeline names"),
        ({"a": []}, {}, "must not be empty"),
        ({"a": [search, {"$project": {"_id": 1}}]}, {}, "Only stages that retrieve"),
        ({"a": [{"$match": {}}]}, {}, "must be ranked"),
        ({"a": [stored]}, {}, "returnStoredSource"),
        ({"a": [search]}, {"b": 1}, "does not exist"),
        ({"a": [search]}, {"a": -1}, "non-negative"),
    ]:
        stage = {"input": {"pipelines": pipelines}, "combination": {"weights": weights}}
        assert message in refused(filled, stage)
    filled.node.version = "7.3.0"
    assert "Unrecognized pipeline stage" in refused(filled, {"input": {"pipelines": {}}})
    build = filled.client.admin.command("buildInfo")
    assert (build["version"], build["versionArray"]) == ("7.3.0", [7, 3, 0, 0])
