"""What is read from a collection is what MongoDB has, byte for byte; too deep is seen before."""

import json
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pymongo.database import Database
from pymongo.errors import PyMongoError

from resources.sources.rejection import BadRecord
from resources.sources.values import MAX_LEVELS, storable, storable_id
from tests.resources.sources.bson_values import IDS, UUID_REPRESENTATIONS, VALUES
from tests.resources.sources.reading import read, source, write

RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


@pytest.mark.parametrize("representation", UUID_REPRESENTATIONS)
def test_ids_and_values_are_those_of_the_collection(mongod_uri: str, representation: str) -> None:
    options = {"uuidRepresentation": representation, "tz_aware": True}
    with pymongo.MongoClient(mongod_uri, **options) as client:
        database = client["test_as_it_came"]
        plain = database.get_collection("ids", codec_options=RAW)

        @settings(max_examples=150, deadline=None)
        @example({"_": 0}, {"$oid": "no object id"})
        @example(b"", {"a": {"$date": 5, "b": [{"$numberInt": "5"}]}})
        @given(IDS, VALUES)
        def check(record_id: Any, value: Any) -> None:
            plain.delete_many({})
            plain.insert_one(
                RawBSONDocument(bson.encode({"_id": record_id, "text": "a", "v": value}))
            )
            (raw,) = plain.find()
            resource = source(
                {"collection": {"database": database.name, "collection": "ids"}}, carry=["v"]
            )
            (document,), rejections = read(resource, client)
            assert not rejections
            again = {"_id": document.id, "text": "a", "v": document.fields["v"]}
            assert bson.encode(again) == raw.raw

        check()
        client.drop_database(database.name)


def nested(levels: int, as_list: bool = False) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if as_list else {"a": value}
    return value


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("path", ["m", "m.n", "m.n.o"])
def test_what_mongodb_stores_is_not_too_deep(mongod_uri: str, path: str, as_list: bool) -> None:
    """The limit is the genuine server's: one level more, and it refuses the document."""
    with pymongo.MongoClient(mongod_uri) as client:
        collection = client["test_levels"].c
        above = path.count(".") + 1
        for levels in (MAX_LEVELS - above, MAX_LEVELS - above + 1):
            value = nested(levels, as_list)
            try:
                collection.update_one({"_id": 1}, {"$set": {path: value}}, upsert=True)
                stored = True
            except PyMongoError:
                stored = False
            assert stored == (levels == MAX_LEVELS - above)
            if stored:
                assert storable(value, "v", above) == value
            else:
                with pytest.raises(BadRecord, match=r"^v is nested too deeply"):
                    storable(value, "v", above)
        client.drop_database("test_levels")


def test_an_id_is_as_deep_as_mongodb_takes_it(mongod_uri: str) -> None:
    with pymongo.MongoClient(mongod_uri) as client:
        collection = client["test_levels"].ids
        deepest = nested(MAX_LEVELS - 1)
        collection.insert_one({"_id": storable_id(deepest, "id")})
        assert collection.count_documents({"_id": {"$in": [deepest]}}) == 1
        with pytest.raises(PyMongoError):
            collection.insert_one({"_id": nested(MAX_LEVELS)})
        with pytest.raises(BadRecord, match="id is nested too deeply"):
            storable_id(nested(MAX_LEVELS), "id")
        client.drop_database("test_levels")


def test_what_is_taken_is_stored(database: Database) -> None:
    value = storable(nested(MAX_LEVELS - 2), "v", 2)
    database.c.insert_one({"_id": 1, "m": {"n": value}})
    assert database.c.find_one({"_id": 1}) == {"_id": 1, "m": {"n": value}}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([179, 180, 500, 2_000, 60_000]), st.booleans(), st.booleans())
def test_a_record_that_is_too_deep_costs_itself(
    tmp_path_factory: pytest.TempPathFactory, levels: int, as_list: bool, as_id: bool
) -> None:
    deep = "[" * levels + "1" + "]" * levels if as_list else '{"a":' * levels + "1" + "}" * levels
    field = "_id" if as_id else "v"
    rest = {"text": "deep"} if as_id else {"_id": 2, "text": "deep"}
    bad = json.dumps(rest)[:-1] + f', "{field}": {deep}}}'
    content = f'{{"_id": 1, "text": "a"}}\n{bad}\n{{"_id": 3, "text": "b"}}\n'
    folder: Path = tmp_path_factory.mktemp("deep")
    path = write(folder / "a.jsonl", content)
    documents, rejections = read(source({"jsonl": {"path": path}}, carry=["v"]))
    too_deep = levels > 179 or (as_id and as_list)
    assert [one.id for one in documents if not isinstance(one.id, dict)] == (
        [1, 3] if too_deep or as_id else [1, 2, 3]
    )
    assert [one.where for one in rejections] == ([f"{path}:2"] if too_deep else [])


DOLLARS = st.sampled_from(
    ["$oid", "$date", "$binary", "$uuid", "$numberLong", "$numberInt", "$numberDouble", "$code",
     "$numberDecimal", "$timestamp", "$regularExpression", "$symbol", "$minKey", "$ref", "$id",
     "$dbPointer", "$scope", "$type", "$undefined", "base64", "subType", "t", "i", "pattern",
     "options", "$numberFloat", "$maxKey", "$regex"]
)  # fmt: skip
ODD = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.booleans(),
    lambda inner: st.dictionaries(DOLLARS, inner, max_size=3) | st.lists(inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=500)
@given(ODD)
def test_odd_extended_json_is_a_bad_record_or_a_value(value: Any) -> None:
    for check in (storable, storable_id):
        try:
            taken = check(value, "v")
        except BadRecord:
            continue
        bson.encode({"": taken})
