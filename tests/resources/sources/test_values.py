import datetime
import re
import uuid
from decimal import Decimal
from typing import Any

import bson
import numpy as np
import pytest
from bson.binary import Binary
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId
from bson.regex import Regex

from resources.sources.fields import MISSING, lookup, store, without_nested
from resources.sources.rejection import BadRecord
from resources.sources.values import bson_value, storable, storable_id

OID = "65a1b2c3d4e5f60718293a4b"
UUID = uuid.UUID("c8edabc3-f738-4ca3-b68d-ab92a91478a3")


@pytest.mark.parametrize(
    ("value", "converted"),
    [
        ({"$oid": OID}, ObjectId(OID)),
        (
            {"at": [{"$date": "2024-01-02T03:04:05Z"}]},
            {"at": [datetime.datetime(2024, 1, 2, 3, 4, 5)]},
        ),
        ({"$date": {"$numberLong": "1000"}}, datetime.datetime(1970, 1, 1, 0, 0, 1)),
        ({"$numberLong": "7"}, Int64(7)),
        ({"$uuid": str(UUID)}, Binary.from_uuid(UUID)),
        (UUID, Binary.from_uuid(UUID)),
        (Decimal("0.1"), Decimal128("0.1")),
        (datetime.date(2024, 1, 2), datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)),
        (datetime.time(3, 4), "03:04:00"),
        (datetime.timedelta(minutes=1), 60.0),
        (np.float32(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        ([("a", Decimal(1)), ("b", None)], {"a": Decimal128("1"), "b": None}),
        ((1, {2}), [1, [2]]),
        ({"$and": [{"a": {"$nin": [None, ""]}}]}, {"$and": [{"a": {"$nin": [None, ""]}}]}),
        # as a literal Regex it would lose the $nin beside it
        ({"$regex": "^a", "$nin": ["ab"]}, {"$regex": "^a", "$nin": ["ab"]}),
    ],
)
def test_values_as_bson(value: Any, converted: Any) -> None:
    result = bson_value(value)
    assert (result, type(result)) == (converted, type(converted))
    bson.encode({"": result})


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**64, "beyond 64 bits"),
        (["\ud800"], "not valid UTF-8"),
        ({"\ud800": 1}, "not valid UTF-8"),
        ({"a\0b": 1}, "NULL byte"),
        ({1: 2}, "only string keys"),
        ({"$oid": "zz"}, "not a valid ObjectId"),
        ({"$date": "today"}, "does not match"),
        (Decimal("1" * 40), "cannot be stored"),
        (object(), "cannot encode object"),
    ],
)
def test_what_bson_cannot_hold(value: Any, reason: str) -> None:
    with pytest.raises(BadRecord, match=f"^the field .*{reason}"):
        storable(value, "the field")


def test_nesting_beyond_reason() -> None:
    value: Any = 1
    for _ in range(100_000):
        value = [value]
    with pytest.raises(BadRecord, match="nested too deeply"):
        storable(value, "the field")
    while isinstance(value, list):  # taken apart by hand: its deallocation recurses as well
        value = value.pop()


@pytest.mark.parametrize(
    "value", ["a", "", 0, -1, 1.5, False, ObjectId(OID), b"ab", {"a": [1]}, {"$oid": OID}]
)
def test_ids(value: Any) -> None:
    assert storable_id(value, "id") == bson_value(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (MISSING, "missing"),
        (None, "null"),
        ([1], "a list, which MongoDB refuses"),
        ((1,), "a list, which MongoDB refuses"),
        ({"$a": 1}, "a [$]-key"),
        ({"a": [{"b": {"$c": 1}}]}, "a [$]-key"),
        (Regex("a"), "regular expression"),
        (re.compile("a"), "regular expression"),
        ({"$regularExpression": {"pattern": "a", "options": ""}}, "regular expression"),
        (2**63, "beyond 64 bits"),
    ],
)
def test_what_is_no_id(value: Any, reason: str) -> None:
    with pytest.raises(BadRecord, match=reason):
        storable_id(value, "id")


def test_paths() -> None:
    record = {"a": {"b": {"c": 1}}, "a.x": 2, "list": [{"b": 1}], "none": None}
    found = {path: lookup(record, path) for path in ("a.b.c", "a.b", "a.x", "none")}
    assert found == {"a.b.c": 1, "a.b": {"c": 1}, "a.x": 2, "none": None}
    assert all(lookup(record, path) is MISSING for path in ("b", "a.c", "list.b", "none.x"))
    carried: dict[str, Any] = {}
    store(carried, "a.b", 1)
    store(carried, "a.c", 2)
    assert carried == {"a": {"b": 1, "c": 2}}
    assert without_nested(["a.b", "_id", "a", "a.b.c", "ab", "a"]) == ["_id", "a", "ab"]
