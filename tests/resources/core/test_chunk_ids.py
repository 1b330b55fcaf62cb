"""Ids of chunks: never shared by two documents, the same where MongoDB says that two ids are."""

import datetime
from typing import Any

import pymongo
import pytest
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.timestamp import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from resources.core.chunk_ids import chunk_id
from resources.core.chunks import hash_text

HEX = "65a1b2c3d4e5f60718293a4b"
HASH = hash_text("x")
LEAVES = st.one_of(
    st.sampled_from(["5", "true", HEX, f"5#{HASH[:16]}", f"5:{HASH[:16]}", "date 0", '"5"', "{}"]),
    st.sampled_from([5, 0, -1, 2**53, 2**53 + 1, 2**63 - 1]),
    st.sampled_from([5.0, 0.0, -0.0, 0.1, 1e300, float("inf"), float("nan"), float(2**53)]),
    st.sampled_from(["5.0", "0.1", "-0", "NaN", "1E+6000", "5", "9007199254740993"]).map(
        Decimal128
    ),
    st.sampled_from([Int64(5), True, False, ObjectId(HEX), Timestamp(5, 0), b"5"]),
    st.sampled_from([Binary(b"5", 0), Binary(b"5", 5), Binary(bytes(16), 3), Binary(bytes(16), 4)]),
    st.sampled_from([datetime.datetime(1970, 1, 1), DatetimeMS(0), DatetimeMS(10**15)]),
)
IDS = LEAVES | st.recursive(
    LEAVES,
    lambda inner: (
        st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        | st.dictionaries(st.sampled_from("ab"), st.lists(inner, max_size=2), max_size=1)
    ),
    max_leaves=3,
).filter(lambda value: isinstance(value, dict))


@pytest.fixture(scope="module")
def collection(_servers):
    # The reply to a duplicate holds the id, and not every client can decode every date.
    uri = _servers.uri("mongod")
    with pymongo.MongoClient(uri, datetime_conversion="DATETIME_AUTO") as client:
        yield client["test_chunk_ids"].ids
        client.drop_database("test_chunk_ids")


def test_two_ids_share_chunks_exactly_where_mongodb_says_they_are_one(collection) -> None:
    @given(IDS, IDS)
    def check(first: Any, second: Any) -> None:
        collection.delete_many({})
        collection.insert_one({"_id": first})
        try:
            collection.insert_one({"_id": second})
            one = False
        except DuplicateKeyError:
            one = True
        assert (chunk_id(first, HASH, 1) == chunk_id(second, HASH, 1)) == one, (first, second)

    check()


@pytest.mark.parametrize(
    ("source_id", "written"),
    [
        ("5", "5#"),
        ("docs/a.md", "docs/a.md#"),
        (ObjectId(HEX), f"{HEX}#"),
        (HEX, f"s{HEX}:"),
        (HEX.upper(), f"{HEX.upper()}#"),
        (5, "n5:"),
        (Int64(5), "n5:"),
        (5.5, "qb/2:"),
        (True, "t1:"),
    ],
)
def test_the_form_of_an_id(source_id: Any, written: str) -> None:
    assert chunk_id(source_id, HASH, 1) == f"{written}{HASH[:16]}"
    assert chunk_id(source_id, HASH, 2) == f"{written}{HASH[:16]}-2"


@given(IDS, IDS, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_no_two_chunks_share_an_id(first, second, one, two, same) -> None:
    other = HASH if same else hash_text("y")
    if chunk_id(first, HASH, one) == chunk_id(second, other, two):
        assert one == two
        assert same
        assert chunk_id(first, HASH, 1) == chunk_id(second, HASH, 1)


def test_what_is_stored_comes_back_with_the_same_chunk_ids(database: Database) -> None:
    ids = [5, 5.5, "5", ObjectId(HEX), Binary(b"ab"), datetime.datetime(2024, 1, 2), {"a": b"x"}]
    database.ids.insert_many({"_id": one} for one in ids)
    assert [chunk_id(one["_id"], HASH, 1) for one in database.ids.find()] == [
        chunk_id(one, HASH, 1) for one in ids
    ]
