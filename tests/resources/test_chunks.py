from datetime import datetime
from uuid import UUID

import pytest
from bson import Int64, ObjectId

from resources.chunks import Chunk, decode, encode, hash_fields

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
    UUID(int=5),
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
    assert type(decode(encode(value))) is type(value) or isinstance(value, Int64)


def test_keys_of_different_values_differ():
    distinct = [*VALUES, "7", "true", "None"]
    assert len({encode(value) for value in distinct}) == len(distinct)


def test_equal_numbers_are_one_key_as_in_mongodb():
    assert encode(5) == encode(Int64(5))


def test_fields_hash_ignores_order_and_sees_every_change():
    base = {"kind": "film", "year": 1997, "topics": ["sea"]}
    assert hash_fields(base) == hash_fields(dict(reversed(base.items())))
    changed = [{**base, "year": 1998}, {**base, "topics": []}, {"kind": "film", "year": 1997}]
    assert len({hash_fields(fields) for fields in [base, *changed]}) == 4
    assert hash_fields({}) == ""


def test_the_hash_is_that_of_the_exact_text():
    chunk = Chunk.whole(1, "text", {})
    assert chunk.text_hash == (
        "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"  # sha256sum of "text"
    )
    assert Chunk.whole(1, "text ", {}).text_hash != chunk.text_hash
