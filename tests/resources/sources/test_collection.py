import datetime
import uuid
from typing import Any

import pymongo
import pymongo.monitoring
import pytest
from bson.binary import Binary
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.database import Database
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from resources.core.errors import SourceError
from resources.sources.collection import CollectionOrigin
from resources.sources.records import SourceDocument
from resources.sources.resource import SourceResource
from tests.resources.sources.reading import read, source

TUTORIAL_FILTER = {"summary": {"$exists": True, "$nin": [None, ""]}}


def origin(database: Database, collection: str = "listings", **settings: Any) -> dict[str, Any]:
    return {"collection": {"database": database.name, "collection": collection, **settings}}


def test_the_tutorial(database: Database) -> None:
    """The first 50 listings that have a summary, of a collection in which not all have one."""
    summaries = [None, "", "A flat by the sea.", "A loft."]
    database.listings.insert_many(
        {
            "_id": str(10_000 + n),
            "name": f"Listing {n}",
            "address": {"country": "Portugal", "street": "x"},
            "embedding": [0.1] * 64,
        }
        | ({"summary": summaries[n % 5]} if n % 5 < 4 else {})
        for n in range(200)
    )
    resource = source(
        origin(database, filter=TUTORIAL_FILTER),
        text="summary",
        carry=["name", "address.country"],
        limit=50,
    )
    documents, rejections = read(resource, database.client)
    assert len(documents) == 50
    assert {document.text for document in documents} == set(summaries[2:])
    assert documents[0].fields == {"name": "Listing 2", "address": {"country": "Portugal"}}
    assert not rejections
    # Without the filter, the others are rejected, each with its reason.
    resource = source(origin(database), text="summary")
    documents, rejections = read(resource, database.client)
    assert (len(documents), len(rejections)) == (80, 120)
    assert {rejection.reason for rejection in rejections} == {
        "text field 'summary' is missing",
        "text field 'summary' is null",
        "text field 'summary' is empty",
    }
    assert {rejection.where for rejection in rejections} == {f"{database.name}.listings"}
    assert rejections[0].id == "10000"


def test_ids_of_any_type(database: Database) -> None:
    ids = [
        ObjectId(),
        "a",
        "",
        7,
        Int64(2**40),
        1.5,
        True,
        datetime.datetime(2024, 1, 2),
        Binary.from_uuid(uuid.uuid4()),
        Decimal128("1.0"),
        Timestamp(1, 2),
        {"a": 1, "b": {"c": [2]}},
    ]
    database.listings.insert_many({"_id": id_, "text": "a"} for id_ in ids)
    documents, rejections = read(source(origin(database)), database.client)
    assert {repr(document.id) for document in documents} == {repr(id_) for id_ in ids}
    assert not rejections


def test_another_id_field(database: Database) -> None:
    bad: list[dict[str, Any]] = [{}, {"slug": None}, {"slug": [1]}, {"slug": {"en": {"$a": 1}}}]
    bad = [{"_id": number, "text": "a", **record} for number, record in enumerate(bad[:3])]
    database.listings.insert_many([*bad, {"_id": 9, "slug": {"en": "x"}, "text": "a"}])
    resource = source(origin(database), id_field="slug.en")
    documents, rejections = read(resource, database.client)
    assert [document.id for document in documents] == ["x"]
    assert [rejection.where for rejection in rejections] == [
        f"{database.name}.listings (_id {number})" for number in range(3)
    ]


def test_only_needed_fields_travel(database: Database, mongodb_uri: str) -> None:
    database.listings.insert_one({"_id": 1, "a": {"b": "x"}, "vector": [0.5], "c": 1})

    class Listener(pymongo.monitoring.CommandListener):
        def __init__(self) -> None:
            self.finds: list[Any] = []
            self.replies: list[Any] = []

        def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
            if event.command_name == "find":
                self.finds.append(dict(event.command))

        def succeeded(self, event: pymongo.monitoring.CommandSucceededEvent) -> None:
            if event.command_name == "find":
                self.replies += event.reply["cursor"]["firstBatch"]

        def failed(self, event: pymongo.monitoring.CommandFailedEvent) -> None:
            pass

    listener = Listener()
    with pymongo.MongoClient(mongodb_uri, event_listeners=[listener]) as client:
        resource = source(origin(database, batch_size=10), text="{a.b} {c}", carry=["a"], limit=3)
        documents, _ = read(resource, client)
    assert documents == [SourceDocument(1, "x 1", {"a": {"b": "x"}})]
    (find,) = listener.finds
    assert find["projection"] == {"_id": 1, "c": 1, "a": 1}
    assert (find["limit"], find["batchSize"]) == (3, 10)
    assert listener.replies == [{"_id": 1, "a": {"b": "x"}, "c": 1}]


def test_filters_with_bson_types(database: Database) -> None:
    moment = datetime.datetime(2024, 1, 2)
    oids = [ObjectId(), ObjectId()]
    database.listings.insert_many(
        [
            {"_id": oids[0], "at": moment, "text": "abc"},
            {"_id": oids[1], "at": moment + datetime.timedelta(days=1), "text": "Abd", "x": None},
        ]
    )
    for query, expected in (
        ({"_id": {"$oid": str(oids[0])}}, oids[:1]),
        ({"at": {"$gt": {"$date": "2024-01-02T00:00:00Z"}}}, oids[1:]),
        ({"$or": [{"_id": {"$in": [{"$oid": str(oid)} for oid in oids]}}]}, oids),
        ({"text": {"$regex": "^ab", "$options": "i", "$nin": ["abc"]}}, oids[1:]),
        ({"x": None}, oids),
        ({"text": "none such"}, []),
    ):
        documents, _ = read(source(origin(database, filter=query)), database.client)
        assert [document.id for document in documents] == expected, query


def test_several_batches(database: Database) -> None:
    database.listings.insert_many({"_id": n, "text": "a"} for n in range(250))
    documents, _ = read(source(origin(database, batch_size=100)), database.client)
    assert len(documents) == 250


def test_an_abandoned_read_closes_its_cursor(mongod_uri: str) -> None:
    with pymongo.MongoClient(mongod_uri) as client:
        database = client["test_abandoned"]
        database.listings.insert_many({"_id": n, "text": "a"} for n in range(250))

        def open_cursors() -> int:
            return client.admin.command("serverStatus")["metrics"]["cursor"]["open"]["total"]

        before = open_cursors()
        records = source(origin(database, batch_size=10)).read(client)
        next(records)
        assert open_cursors() == before + 1
        records.close()  # type: ignore[attr-defined]
        assert open_cursors() == before
        client.drop_database(database.name)


def test_collections_that_are_empty_or_missing(database: Database) -> None:
    def missing(name: str) -> str:
        with pytest.raises(SourceError) as raised:
            read(source(origin(database, name)), database.client)
        return str(raised.value)

    sentence = f"collection {database.name}.listings does not exist in this deployment"
    assert missing("listings") == (
        f"{sentence} (no database {database.name} either: load the data, or check the connection)"
    )
    database.create_collection("listings")
    assert read(source(origin(database)), database.client) == ([], [])
    database.movies.insert_one({})
    assert missing("none").endswith(f"(the collections of {database.name} are listings, movies)")
    for n in range(20):
        database[f"c{n}"].insert_one({})
    assert missing("none").endswith(
        f"(none of the 22 collections of {database.name} has that name)"
    )


def test_what_kind_of_collection_it_is(mongod_uri: str) -> None:
    with pymongo.MongoClient(mongod_uri) as client:
        database = client["test_kinds"]
        database.create_collection("plain")
        database.create_collection("times", timeseries={"timeField": "at"})
        database.create_collection("view", viewOn="plain", pipeline=[])
        database.create_collection("view_of_view", viewOn="view", pipeline=[])
        database.create_collection("view_of_times", viewOn="times", pipeline=[])
        database.create_collection("view_of_nothing", viewOn="gone", pipeline=[])
        found = {}
        for name in ("plain", "times", "view", "view_of_view", "view_of_times", "view_of_nothing",
                     "missing"):  # fmt: skip
            one = CollectionOrigin(database=database.name, collection=name)
            found[name] = (one.kind_of(client), one.underlying(client))
        assert found == {
            "plain": ("collection", None),
            "times": ("timeseries", None),
            "view": ("view", "test_kinds.plain"),
            "view_of_view": ("view", "test_kinds.plain"),
            "view_of_times": ("view", "test_kinds.times"),
            "view_of_nothing": ("view", "test_kinds.gone"),
            "missing": ("missing", None),
        }
        client.drop_database(database.name)


def test_values_that_pymongo_would_not_decode(mongod_uri: str) -> None:
    with pymongo.MongoClient(mongod_uri) as client:
        listings = client["test_undecodable"].listings
        far = DatetimeMS(10**15)  # after the year 9999
        listings.insert_one({"_id": 1, "text": "a", "at": far})
        wrong = RawBSONDocument(
            b"\x1b\x00\x00\x00\x10_id\x00\x02\x00\x00\x00\x02text\x00\x03\x00\x00\x00a\xe9\x00\x00"
        )
        raw = listings.with_options(codec_options=CodecOptions(document_class=RawBSONDocument))
        raw.insert_one(wrong)
        listings.insert_one({"_id": 3, "text": "c", "at": None})
        documents, rejections = read(source(origin(listings.database), carry=["at"]), client)
        assert documents == [
            SourceDocument(1, "a", {"at": far}),
            SourceDocument(3, "c", {"at": None}),
        ]
        assert [(rejection.id, rejection.reason) for rejection in rejections] == [
            (2, "text field 'text' is not valid UTF-8: it holds a lone surrogate")
        ]
        client.drop_database(listings.database.name)


def test_errors_of_mongodb_are_left_as_they_are(mongod_uri: str) -> None:
    with pymongo.MongoClient(mongod_uri) as client, pytest.raises(OperationFailure):
        read(source(origin(client["test_errors"], filter={"a": {"$nope": 1}})), client)
    unreachable: pymongo.MongoClient = pymongo.MongoClient(
        "mongodb://127.0.0.1:1", serverSelectionTimeoutMS=100
    )
    with unreachable, pytest.raises(ServerSelectionTimeoutError):
        read(source(origin(unreachable["d"])), unreachable)


def test_a_collection_needs_a_client() -> None:
    resource: SourceResource = source({"collection": {"database": "d", "collection": "c"}})
    assert resource.needs_mongodb
    with pytest.raises(ValueError, match="read through a client"):
        read(resource)
