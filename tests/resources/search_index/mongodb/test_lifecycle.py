"""What the server lists and answers, read without a server."""

from typing import Any

import pytest
from pymongo.errors import OperationFailure

from resources.core.errors import SearchIndexError
from resources.search_index.mongodb import lifecycle
from resources.search_index.mongodb.lifecycle import (
    MAX_COLLECTIONS,
    IndexState,
    already_exists,
    at_limit,
    deployment_indexes,
    find_index,
    index_errors,
    list_indexes,
)


def test_an_entry_with_everything_is_read():
    entry = {
        "name": "films",
        "type": "search",
        "status": "FAILED",
        "queryable": True,
        "latestDefinition": {"fields": [], "message": "of the user"},
        "latestDefinitionVersion": {"version": 3.0},
        "numDocs": 7.0,
        "statusDetail": [
            {"mainIndex": {"message": "first", "definition": {"message": "of the user"}}},
            {"stagedIndex": {"message": "second"}, "message": ""},
            {"mainIndex": {"message": "first"}, "other": {"message": 3}},
        ],
    }
    assert IndexState.from_entry(entry) == IndexState(
        "films", "search", "FAILED", True, entry["latestDefinition"], 3, 7, "first; second"
    )


@pytest.mark.parametrize(
    ("entry", "kind", "status", "queryable"),
    [
        ({}, "search", "PENDING", False),
        ({"latestDefinition": {"fields": []}}, "vectorSearch", "PENDING", False),
        ({"status": "READY"}, "search", "READY", True),
        ({"status": "STALE"}, "search", "STALE", True),
        ({"status": "BUILDING"}, "search", "BUILDING", False),
        ({"status": "READY", "queryable": False}, "search", "READY", False),
    ],
)
def test_an_entry_with_little_is_read(entry, kind, status, queryable):
    found = IndexState.from_entry({"name": "films", **entry})
    wanted = entry.get("latestDefinition", {})
    assert found == IndexState("films", kind, status, queryable, wanted, None, None, "")


def failure(message: str = "no", code: int = 0) -> OperationFailure:
    return OperationFailure("of the driver", code, {"errmsg": message})


class Collection:
    def __init__(self, name: str, indexes: list[str] | OperationFailure) -> None:
        self.name, self.indexes = name, indexes
        self.asked: list[str | None] = []

    def list_search_indexes(self, name: str | None = None) -> list[dict[str, Any]]:
        self.asked.append(name)
        if isinstance(self.indexes, OperationFailure):
            raise self.indexes
        return [{"name": there} for there in self.indexes if name in (None, there)]


class Database:
    def __init__(self, collections: dict[str, Any] | OperationFailure) -> None:
        self.collections = collections

    def list_collection_names(self, filter: Any) -> list[str]:  # noqa: A002
        assert filter == {"type": "collection"}
        if isinstance(self.collections, OperationFailure):
            raise self.collections
        return list(self.collections)

    def __getitem__(self, name: str) -> Collection:
        return Collection(name, self.collections[name])


class Client(dict):
    """Databases by name; the names are not given where there is a failure."""

    names: OperationFailure | None = None

    def list_database_names(self) -> list[str]:
        if self.names:
            raise self.names
        return list(self)


def test_indexes_are_listed_and_found_by_name():
    there: Any = Collection("c", ["a", "b"])
    assert [found.name for found in list_indexes(there)] == ["a", "b"]
    assert [found.name for found in list_indexes(there, "b")] == ["b"]
    assert (find_index(there, "b").name, find_index(there, "c")) == ("b", None)
    assert there.asked == [None, "b", "b", "c"], "no more is listed than is asked for"
    # an older server lists all, whatever is asked for
    there.list_search_indexes = lambda name: [{"name": "a"}, {"name": "b"}]
    assert find_index(there, "b").name == "b"
    missing: Any = Collection("c", failure(code=26))
    assert list_indexes(missing) == []
    denied: Any = Collection("c", failure(code=13))
    with pytest.raises(OperationFailure):
        list_indexes(denied)


def test_all_that_the_user_may_see_of_a_deployment_is_listed():
    client: Any = Client(
        admin=Database({"x": ["hidden"]}),
        denied=Database(failure()),
        other=Database({"z": ["1"], "a": ["2", "3"], "system.views": ["hidden"]}),
        films=Database({"denied": failure(), "reviews": ["4"]}),
    )
    wanted = ["films.reviews:4", "other.a:2", "other.a:3", "other.z:1"]
    assert deployment_indexes(client, "films") == wanted
    client.names = failure()
    assert deployment_indexes(client, "films") == wanted[:1]


def test_a_deployment_is_looked_at_as_far_as_that_takes_no_time():
    names = [f"c{number:04}" for number in range(MAX_COLLECTIONS + 5)]
    client: Any = Client(films=Database({name: ["x"] for name in names}), other=Database({"a": []}))
    found = deployment_indexes(client, "films")
    assert found == [f"films.{name}:x" for name in names[:MAX_COLLECTIONS]]


def test_what_an_error_means_is_seen_by_its_code_or_its_words():
    assert at_limit(failure("The Maximum Number of FTS indexes has been reached"))
    assert not at_limit(failure("The maximum"))
    assert already_exists(failure(code=68))
    assert already_exists(failure("Index Already Exists"))
    assert already_exists(failure("Duplicate Index"))
    assert not already_exists(failure("no such index", 67))


def said(error: OperationFailure, client: Any = None) -> str:
    database = type("Database", (), {"name": "db", "client": client})()
    collection: Any = type("Collection", (), {"full_name": "db.films", "database": database})()
    with pytest.raises(SearchIndexError) as caught, index_errors(collection, "name"):
        raise error
    assert caught.value.__cause__ is error
    return str(caught.value)


def test_every_answer_has_a_way_out(monkeypatch: pytest.MonkeyPatch):
    full = failure("maximum number of indexes")
    nodes = {("shard-0.mongodb.net", 27017)}, {("127.0.0.1", 27017)}
    atlas, own = (type("Client", (), {"nodes": each})() for each in nodes)
    monkeypatch.setattr(lifecycle, "deployment_indexes", lambda client, name: [name])
    there = said(full, atlas)
    assert (
        "it has 1, db (a free cluster takes 3 search indexes, a flex cluster 10): remove" in there
    )
    assert "it has 1, db: remove one" in said(full, own)
    monkeypatch.setattr(lifecycle, "deployment_indexes", lambda client, name: [])
    assert "it has none that this user can see: remove one" in said(full, own)
    assert said(failure("Atlas only", 31082)).startswith(
        "no Vector Search here: use Atlas, the Atlas Local image"
    )
    assert said(failure("not authorized", 13)) == (
        "the user may not manage the search indexes of db.films: grant it readWrite on the "
        "database db (not authorized)"
    )
    for error in (failure("x", 6), failure("Error connecting to Search Index Management")):
        assert "search nodes do not answer" in said(error)
    assert said(failure("else", 9)) == (
        "the server refuses the search index name of db.films (error 9): else"
    )
