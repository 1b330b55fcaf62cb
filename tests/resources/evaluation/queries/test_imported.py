"""Imported sets: whole or not at all, and never one in the place of another unasked."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from bson.objectid import ObjectId
from hypothesis import HealthCheck, given, settings
from pymongo.database import Database

from resources.core.errors import EvaluationError
from resources.evaluation.export import export
from resources.evaluation.judged import JudgedQuery, Judgement, QuerySet, digest
from resources.evaluation.queries.collection import CollectionQueries
from resources.evaluation.queries.files import JsonlQueries
from resources.evaluation.queries.imported import ImportedQueries, ImportedSet
from tests.resources.evaluation.queries.places import where
from tests.resources.evaluation.strategies import SETS


class Given(QuerySet):
    def __init__(self, queries: Callable[[], Iterator[JudgedQuery]] | Sequence[JudgedQuery]):
        self._queries = queries

    def __iter__(self) -> Iterator[JudgedQuery]:
        return iter(self._queries() if callable(self._queries) else self._queries)

    def describe(self) -> str:
        return "given"


ONE = [JudgedQuery("a", "what?", [Judgement(5, 2)]), JudgedQuery("b", "who?")]
OTHER = [JudgedQuery("a", "what?", [Judgement(5, 1)])]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(queries=SETS)
def test_what_is_imported_is_the_same_set(
    database: Database, tmp_path: Path, queries: Sequence[JudgedQuery]
):
    export(queries, tmp_path / "set.jsonl", "jsonl")
    place = where(database)
    found = JsonlQueries(path=str(tmp_path / "set.jsonl")).open(place)
    done = ImportedSet(database, "p").replace(found, "set.jsonl", replace=True)
    kept = list(ImportedQueries().open(place))
    assert done.digest == digest(kept) == digest(queries)


def test_another_set_is_replaced_only_when_that_is_asked_for(database: Database):
    kept = ImportedSet(database, "p")
    assert kept.replace(Given(ONE), "one.jsonl", replace=False).changed
    again = kept.replace(Given(ONE[::-1]), "one again", replace=False)
    assert (again.changed, again.queries, again.replaced) == (False, 2, 2)
    with pytest.raises(
        EvaluationError, match=r"has another set of 2 queries, imported from one.jsonl at .*--repl"
    ):
        kept.replace(Given(OTHER), "other.jsonl", replace=False)
    assert digest(list(kept)) == digest(ONE)
    done = kept.replace(Given(OTHER), "other.jsonl", replace=True)
    assert (done.queries, done.replaced) == (1, 2)
    assert list(kept) == OTHER
    assert database["evaluation_queries"].count_documents({}) == 1


def test_what_cannot_be_used_leaves_what_was_there(database: Database):
    kept = ImportedSet(database, "p")
    kept.replace(Given(ONE), "one", replace=False)

    def broken() -> Iterator[JudgedQuery]:
        yield from OTHER
        raise EvaluationError("line 2")

    with pytest.raises(EvaluationError, match="line 2"):
        kept.replace(Given(broken), "broken", replace=True)
    reads = iter([OTHER, ONE[1:]])
    with pytest.raises(EvaluationError, match="changing changed while it was imported"):
        kept.replace(Given(lambda: iter(next(reads))), "changing", replace=True)
    assert digest(list(kept)) == digest(ONE)
    assert database["evaluation_queries"].count_documents({}) == 2


def test_what_an_import_that_was_killed_has_left_goes_with_the_next(database: Database):
    left = {"pipeline": "p", "set": "imported/killed", "id": "x", "query": "q", "relevant": []}
    others = {**left, "pipeline": "another"}
    written = {**left, "set": "by_model/1"}
    database["evaluation_queries"].insert_many([left, others, written])
    ImportedSet(database, "p").replace(Given(ONE), "one", replace=False)
    found = database["evaluation_queries"].find({"id": "x"}, {"_id": 0})
    assert [each["pipeline"] + each["set"] for each in found] == [
        "anotherimported/killed", "pby_model/1",
    ]  # fmt: skip


def test_pipelines_have_sets_of_their_own_and_without_one_it_is_said(database: Database):
    ImportedSet(database, "other").replace(Given(ONE), "one", replace=False)
    with pytest.raises(EvaluationError, match="`embeddings queries p import FILE` brings some"):
        list(ImportedQueries().open(where(database)))


def test_a_set_that_is_replaced_while_it_is_read_is_not_taken_for_whole(database: Database):
    kept = ImportedSet(database, "p")
    kept.replace(Given(ONE), "one", replace=False)
    database["evaluation_queries"].delete_one({"id": "b"})
    with pytest.raises(EvaluationError, match="were replaced while they were read, or are damaged"):
        list(kept)


# --- collections of the user's own


def test_a_collection_of_ones_own_is_read(database: Database):
    oid = ObjectId()
    database["judged"].insert_many(
        [
            {"_id": oid, "query": "what?", "relevant": [oid, {"id": 5, "grade": 2}]},
            {"_id": 2, "query": "who?", "relevant": {"d1": 3}, "filter": {"kind": "film"}},
            {"_id": 3, "query": "left out", "relevant": 5, "draft": True},
        ]
    )
    own = CollectionQueries(
        database=database.name, collection="judged", filter={"draft": {"$ne": True}}
    )
    first, second = own.open(where(database))
    assert (first.id, first.grades) == (str(oid), {f"o{oid}": 1, "n5": 2})
    assert (second.id, second.grades, second.filter) == ("2", {"sd1": 3}, {"kind": "film"})
    every = CollectionQueries(database=database.name, collection="judged")
    with pytest.raises(
        EvaluationError,
        match=r"judged: field 'relevant' is a number.* or take it out of the collection",
    ):
        list(every.open(where(database)))
    missing = CollectionQueries(database=database.name, collection="none")
    with pytest.raises(EvaluationError, match=r"collection \S+\.none does not exist"):
        list(missing.open(where(database)))
