"""Ids are what MongoDB says they are: asked of a genuine mongod, pair by pair."""

import secrets
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import bson
import pymongo
import pytest
from bson import Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.code import Code
from bson.datetime_ms import DatetimeMS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.errors import DuplicateKeyError

from resources.core.keys import EXACT, decode, encode, key, shown

SMALL = st.integers(-3, 3)
NUMBERS = st.one_of(
    SMALL,
    SMALL.map(Int64),
    SMALL.map(float),
    SMALL.map(lambda n: Decimal128(f"{n}.0")),
    SMALL.map(lambda n: n / 10),
    SMALL.map(lambda n: Decimal128(Decimal(n) / 10)),
    st.sampled_from([0.0, -0.0, float("nan"), float("inf"), float("-inf"), 2.0**53, 1e300]),
    st.sampled_from([2**53, 2**53 + 1, Int64(2**53 + 1), 2**63 - 1, float(2**63)]),
    st.sampled_from(["NaN", "-NaN", "Infinity", "-0", "1E+3", "1000", "1E+6000", "1E-6000"]).map(
        Decimal128
    ),
)
MOMENTS = st.one_of(
    st.sampled_from(
        [datetime(2024, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999_000)]
    ),
    st.sampled_from([0, 1, -1, 1_704_067_200_000, 253_402_300_800_000]).map(DatetimeMS),
)
OTHERS = st.one_of(
    st.sampled_from(["", "5", "true", "a", "A", "\u00e9", "e\u0301", "{}", "n5", '"5"', "null"]),
    st.booleans(),
    MOMENTS,
    st.sampled_from([b"", b"\x01", b"\x00" * 16]),
    st.tuples(st.sampled_from([0, 2, 5, 128]), st.sampled_from([b"\x01", b"\x02"])).map(
        lambda pair: Binary(pair[1], pair[0])
    ),
    st.sampled_from([3, 4]).map(lambda subtype: Binary(b"\x07" * 16, subtype)),
    st.just(uuid.UUID(bytes=b"\x07" * 16)),
    st.sampled_from([ObjectId("0" * 24), ObjectId("1" * 24), "0" * 24]),
    st.sampled_from([MinKey(), MaxKey(), Timestamp(1, 2), Timestamp(2, 1), Code("a")]),
)
INNER = st.recursive(
    NUMBERS | OTHERS | st.none() | st.just(Regex("a", "i")),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(
            st.tuples(st.sampled_from("ab"), inner), max_size=2, unique_by=lambda p: p[0]
        ).map(dict)
    ),
    max_leaves=3,
)
IDS = st.one_of(
    NUMBERS,
    OTHERS,
    st.lists(st.tuples(st.sampled_from("ab"), INNER), max_size=2, unique_by=lambda p: p[0]).map(
        dict
    ),
)


@pytest.fixture
def collection(mongod_uri):
    # A refusal quotes the id, and a date after 9999 has no Python.
    options: Any = {"uuidRepresentation": "standard", "datetime_conversion": "DATETIME_AUTO"}
    with pymongo.MongoClient(mongod_uri, **options) as client:
        name = f"test_{secrets.token_hex(4)}"
        yield client[name]["ids"]
        client.drop_database(name)


@settings(max_examples=40, suppress_health_check=list(HealthCheck), deadline=None)
@given(ids=st.lists(IDS, min_size=2, max_size=40))
def test_two_ids_are_one_key_exactly_when_the_unique_index_says_so(collection, ids):
    collection.delete_many({})
    seen = set()
    for value in ids:
        try:
            collection.insert_one({"_id": value})
            taken = False
        except DuplicateKeyError:
            taken = True
        assert taken == (key(value) in seen), value
        seen.add(key(value))


@settings(max_examples=300, deadline=None)
@given(value=IDS | INNER)
def test_a_value_comes_back_from_text_as_the_same_bytes(value):
    written = bson.CodecOptions(uuid_representation=bson.binary.UuidRepresentation.STANDARD)
    again = decode(encode(value))
    assert bson.encode({"": again}, codec_options=written) == bson.encode(
        {"": value}, codec_options=written
    )
    assert key(again) == key(value)


VALUES = [
    "plain",
    'quote " and ünï',
    "lone\x00nul",
    7,
    Int64(2**40),
    1.5,
    True,
    None,
    ObjectId("65f0a1b2c3d4e5f601234567"),
    datetime(2026, 11, 23, 3, 4, 5, 678000),
    datetime(1955, 11, 5),
    {"a": 1, "b": ["x", {"c": 2}]},
    "$oid",
    "back\\slash",
    "",
    {"price": "5 $", "n": 3, "none": None, "yes": False},
    {"when": datetime(2026, 11, 23), "plain": "x"},
    {"x": float("inf")},
    {},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_values_survive_as_text(value):
    assert decode(encode(value)) == value
    assert type(decode(encode(value))) is type(value)


def test_keys_of_different_values_differ():
    distinct = [*VALUES, "7", "true", "None"]
    assert len({key(value) for value in distinct}) == len(distinct)


def test_a_field_that_looks_like_extended_json_is_none():
    for value in ({"$oid": "no id"}, {"a": {"$date": 5}}, {"price": "$5"}, {"a$b": 1}):
        assert decode(encode(value)) == value


def test_what_an_earlier_version_wrote_is_read():
    assert decode('{"$oid": "000000000000000000000000"}') == ObjectId("0" * 24)
    assert decode('{"a": 1, "at": {"$date": "2024-01-01T00:00:00Z"}}')["at"].year == 2024


def test_ids_of_two_types_look_different():
    assert [shown(value) for value in ("5", ObjectId("0" * 24), 5.5)] == [
        "5",
        '{"$oid": "000000000000000000000000"}',
        "5.5",
    ]
    assert EXACT.uuid_representation == bson.binary.UuidRepresentation.UNSPECIFIED
