"""Searches by words: what is sent, found, filtered, refused and explained."""

import secrets
from typing import Any

import pymongo
import pytest
from bson import Decimal128
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.core.errors import QueryRefused, SearchIndexError
from resources.search_index.mongodb.text_definition import filtered_paths
from resources.search_index.mongodb.text_filter import implied
from resources.search_index.mongodb.text_search import build_stages
from resources.search_index.query import Query
from tests.resources.search_index.filters.test_filters import (
    ALL,
    PATHS,
    SCALARS,
    clauses,
    random_documents,
)
from tests.resources.search_index.mongodb.bench import COUNT, SPACE, Bench
from tests.search_node import SearchNode

TEXT: dict[str, Any] = {"text": {}}


@pytest.fixture
def served(bench):
    engine = bench.engine(**TEXT)
    engine.reconcile(bench.lines.append)
    return engine.serve()


def searches(bench: Bench) -> list[list[dict[str, Any]]]:
    return [body["pipeline"] for body in bench.node.commands if "$search" in str(body)]


def test_documents_are_found_by_any_of_the_words(bench, served):
    bench.store.collection.update_one({"_id": 5}, {"$set": {"text": "five times 7"}})
    hits = served.matching("7 FIVE nonsense", Query(limit=3), ["text", "kind"])
    assert [hit.id for hit in hits] == [5, 7]
    assert hits[0].score > hits[1].score > 0
    assert hits[0].document == {"_id": 5, "text": "five times 7", "kind": "odd"}
    assert served.matching("five", Query(limit=3))[0].document is None
    ((search, match, limit, project), _) = searches(bench)
    assert search["$search"] == {
        "index": "vector_index_text",
        "compound": {
            "must": [{"text": {"query": "7 FIVE nonsense", "path": ["text"]}}],
            "filter": [{"equals": {"path": "embedding_lineage.space", "value": SPACE.id}}],
        },
        "sort": {"score": {"$meta": "searchScore"}, "_id": 1},
    }
    assert match == {"$match": {"embedding_lineage.space": SPACE.id}}
    assert limit == {"$limit": 3}
    assert project["$project"] == {
        "_id": 1,
        "text": 1,
        "kind": 1,
        "__score": {"$meta": "searchScore"},
    }


def test_of_equal_documents_the_lower_id_comes_first(served):
    ids = [hit.id for hit in served.matching("text", Query(limit=COUNT - 2))]
    assert ids == list(range(COUNT - 2))


def test_several_fields_are_searched_by_their_analyzer(bench):
    engine = bench.engine(text={"fields": ["text", "kind"], "analyzer": "lucene.english"})
    engine.reconcile(bench.lines.append)
    served = engine.serve()
    assert {hit.id for hit in served.matching("odd", Query(limit=50))} == {1, 3, 5, 7, 9, 11}
    assert served.matching("the and of", Query(limit=5)) == []


ODD = [
    "AND", "NOT text", "text AND", '"', '"text', "text*", "te?t", "te[x]t", "(text", "a:b",
    "kind:odd", "text~2", "^", "+text -3", "\\", "{}", "$where", "\U0001f600", "the", "  ", "",
    "\n", "\x00", "日本語", "/text/", "text 3 " * 5_000, "日本語" * 5_000,
    "\U0001f600" * 5_000, "x" * 100_000,
]  # fmt: skip


def test_no_text_is_refused(bench):
    fields = ["text", "kind", "source_id"]
    engine = bench.engine(text={"fields": fields, "analyzer": "lucene.english"})
    engine.reconcile(bench.lines.append)
    served = engine.serve()
    for text in ODD:
        served.matching(text, Query(limit=3))
    assert len(served.matching(ODD[-4], Query(limit=3))) == 3
    sent = [
        stages[0]["$search"]["compound"]["must"][0]["text"]["query"] for stages in searches(bench)
    ]
    assert all(text in ODD or any(odd.startswith(text) for odd in ODD) for text in sent)

    @settings(max_examples=150, deadline=None, derandomize=True, database=None)
    @given(st.text(max_size=40))
    def ask(text: str) -> None:
        served.matching(text, Query(limit=3))

    ask()


def test_a_search_never_leaves_its_space(bench, served):
    """Neither by what the search nodes know, nor by what they do not know yet."""
    bench.store.collection.update_one({"_id": 5}, {"$set": {"embedding_lineage.space": "other"}})
    found = {hit.id for hit in served.matching("text", Query(limit=COUNT))}
    assert found == set(range(COUNT)) - {5}
    stages = searches(bench)[-1]
    within = {"embedding_lineage.space": SPACE.id}
    assert within in (stages[1]["$match"], *stages[1]["$match"].get("$and", []))
    assert SPACE.id in str(stages[0])


@pytest.fixture
def judged(node: SearchNode):
    """600 random documents with one word each, and a search index over them by hand."""
    client: pymongo.MongoClient = pymongo.MongoClient(node.uri, uuidRepresentation="standard")
    name = f"test_{secrets.token_hex(6)}"
    bench = Bench(node, client, name, "/nowhere")
    collection = bench.store.collection
    lineage = {"embedding_lineage": {"space": SPACE.id}}
    collection.insert_many(
        {"_id": number, "text": "word", **lineage, **document}
        for number, document in enumerate(random_documents())
    )
    engine: Any = bench.engine(filter_fields=list(PATHS), **TEXT)
    wanted = engine._text  # what a run would make, without its vectors
    declared = wanted.declare(lambda line: None, None)
    state = wanted.await_serving(declared, None)
    yield collection, state.definition
    bench.drop()


def test_filters_mean_what_find_means(judged):
    collection, definition = judged
    paths = filtered_paths(definition)
    assert paths == set(PATHS)
    pushed = 0

    @settings(
        max_examples=300, derandomize=True, database=None, deadline=None, suppress_health_check=ALL
    )
    @given(clauses)
    def compare(clause: dict) -> None:
        nonlocal pushed
        expected = [row["_id"] for row in collection.find(clause, {"_id": 1}).sort("_id", 1)]
        stages = build_stages(
            "word",
            Query(limit=1_000, filter=clause),
            index="vector_index_text",
            definition=definition,
            filters=list(PATHS),
            only={"embedding_lineage.space": SPACE.id},
        )
        found = [row["_id"] for row in collection.aggregate([*stages, {"$project": {"_id": 1}}])]
        assert found == expected, clause
        pushed += bool(implied(clause, paths))

    compare()
    assert pushed > 30, "hardly any filter reaches the search nodes: the test shows little"


def test_every_value_that_the_search_nodes_judge(judged):
    collection, definition = judged
    paths = filtered_paths(definition)
    kinds = set()
    for value in SCALARS:
        for operator in ("$eq", "$gt", "$gte", "$lt", "$lte"):
            clause = {"a": {operator: value}}
            found = implied(clause, paths)
            if not found:
                continue
            kinds.add((type(value).__name__, operator))
            stages: list[Any] = [
                {
                    "$search": {
                        "index": "vector_index_text",
                        "compound": {"filter": found},
                    }
                },
                {"$project": {"_id": 1}},
            ]
            kept = {row["_id"] for row in collection.aggregate(stages)}
            assert {row["_id"] for row in collection.find(clause, {"_id": 1})} <= kept, clause
            assert len(kept) < 600
    assert {("str", "$eq"), ("bool", "$eq"), ("ObjectId", "$gt"), ("datetime", "$lte")} <= kinds
    assert {("UUID", "$eq"), ("Binary", "$eq")} <= kinds
    assert not any(name in ("int", "float", "Decimal128", "NoneType") for name, _ in kinds)


def test_a_filter_finds_what_the_search_nodes_cannot_compare(bench):
    prices = {1: Decimal128("9.50"), 2: 9.5, 3: 2**53 + 1, 4: None}
    for key, price in prices.items():
        bench.store.collection.update_one({"_id": key}, {"$set": {"price": price}})
    engine = bench.engine(filter_fields=["price", "kind"], **TEXT)
    engine.reconcile(bench.lines.append)
    served = engine.serve()

    def found(clause: dict[str, Any]) -> set[int]:
        return {hit.id for hit in served.matching("text", Query(limit=COUNT, filter=clause))}

    assert found({"price": {"$lte": 10}}) == {1, 2}
    assert found({"price": {"$gt": 2**53}}) == {3}
    assert found({"price": {"$exists": True}}) == {1, 2, 3, 4}
    assert found({"price": None, "kind": "even"}) == {0, 4, 6, 8, 10}
    assert found({"kind": "x" * 9_000}) == set()
    assert found({"$or": [{"kind": {"$in": ["odd"]}}] * 600}) == {1, 3, 5, 7, 9, 11}
    assert found({"kind": {"$in": []}}) == set()


def test_a_limit_cuts_after_the_filter(served):
    hits = served.matching("text", Query(limit=2, filter={"kind": {"$ne": "even"}}))
    assert [hit.id for hit in hits] == [1, 3]


def test_what_cannot_be_answered_is_refused(bench):
    engine = bench.engine()
    engine.reconcile(bench.lines.append)
    served = engine.serve()
    assert "declare `text: {}` in search_index" in served.why_no_text()
    with pytest.raises(QueryRefused, match="holds vectors only"):
        served.matching("text", Query(limit=1))
    served = bench.engine(**TEXT).serve()
    assert "declared and not made yet: materialize search_index" in served.why_no_text()
    with pytest.raises(QueryRefused, match="not made yet"):
        served.matching("text", Query(limit=1))
    bench.engine(**TEXT).reconcile(bench.lines.append)
    served = bench.engine(**TEXT).serve()
    assert served.why_no_text() == ""
    with pytest.raises(QueryRefused, match="'year', which is not a filter field"):
        served.matching("text", Query(limit=1, filter={"year": 1990}))
    # No longer declared, it is on its way out.
    assert "holds vectors only" in bench.engine().serve().why_no_text()


def test_silence_has_a_cause(bench, served):
    asked = Query(3, mode="text")
    assert served.matching("opera", asked) == []
    assert "has any of these words" in served.why_empty(asked)
    assert "passes the filter" in served.why_empty(Query(3, {"kind": "opera"}, mode="text"))
    bench.store.collection.drop_search_index("vector_index_text")
    assert "there is no index vector_index_text" in served.why_empty(asked)
    assert served.why_empty(Query(3)) == ""


def test_explain_shows_what_would_be_sent(served):
    shown = served.explain(None, "five", Query(3, {"kind": "odd"}, mode="text"))
    assert list(shown) == ["$search", "$match", "$limit"]
    assert "five" in str(shown["$search"])


def test_search_nodes_that_do_not_answer_are_named(bench, served):
    down = "Error connecting to localhost:28000"
    bench.node.fail_next("$search", 125, "CommandFailed", down)
    with pytest.raises(SearchIndexError, match="search nodes do not answer"):
        served.matching("text", Query(limit=1))
    bench.node.sever_next("$search")
    assert served.matching("text", Query(limit=1))[0].id == 0, "the driver tries again"


def test_an_index_made_by_hand_without_texts_is_refused():
    with pytest.raises(QueryRefused, match="holds no text"):
        build_stages(
            "x",
            Query(1),
            index="i",
            definition={"mappings": {"fields": {"a": {"type": "token"}}}},
            filters=[],
            only={"s": "x"},
        )
