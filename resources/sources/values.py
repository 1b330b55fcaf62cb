"""Values of any source as values that MongoDB can hold."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
from bson import json_util
from bson.binary import Binary
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.errors import BSONError
from bson.regex import Regex

from resources.sources.fields import MISSING
from resources.sources.rejection import BadRecord

MAX_LEVELS = 180
"""Levels of nesting that mongod stores, the document itself being the first: BSON's 200 less 20."""

# A date that BSON has and Python has not stays as it is.
_EXTENDED_JSON = json_util.JSONOptions(
    tz_aware=False, datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

# What bson_value raises for Extended JSON that is none, and bson.encode for what BSON cannot hold.
UNCONVERTIBLE = (
    BSONError, ValueError, TypeError, ArithmeticError, LookupError, AttributeError
)  # fmt: skip


def bson_value(value: Any) -> Any:
    """The value as PyMongo encodes it.

    Extended JSON (`{$oid: …}`, `{$date: …}`: what `mongoexport` writes) becomes the BSON type it
    stands for. A decimal becomes Decimal128, which keeps every digit where a float would not; a
    date becomes midnight UTC, a time of day its ISO text, a duration its seconds, a UUID a binary
    of subtype 4, a NumPy value its Python equivalent.
    """
    match value:
        case None | str() | int() | float() | bytes() | datetime():
            return value
        case Mapping():
            return _extended_json({key: bson_value(inner) for key, inner in value.items()})
        case [(str(), _), *_] if all(isinstance(pair, tuple) for pair in value):
            return {key: bson_value(inner) for key, inner in value}  # a map column of Parquet
        case list() | tuple() | set() | frozenset():
            return [bson_value(inner) for inner in value]
        case date():
            return datetime.combine(value, time(), UTC)
        case time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return Decimal128(value)
        case UUID():
            return Binary.from_uuid(value)
        case _ if hasattr(value, "tolist"):
            return bson_value(value.tolist())
        case _:
            return value


def _extended_json(value: dict[str, Any]) -> Any:
    # json_util would take {$regex: …} for a literal and drop the query operators beside it.
    if "$regex" in value or not any(str(key).startswith("$") for key in value):
        return value
    converted = json_util.object_hook(value, _EXTENDED_JSON)
    return Binary.from_uuid(converted) if isinstance(converted, UUID) else converted


def storable(value: Any, what: str, levels: int = 1, *, is_bson: bool = False) -> Any:
    """The value as BSON takes it; BadRecord if it takes it not.

    Args:
        value: Of any source.
        what: The field, for the reason.
        levels: Of the stored document above the value: 1 for a field, 2 for a field in a field.
        is_bson: It comes from MongoDB, and goes back as it came: what looks like Extended JSON
            in a document is no Extended JSON.
    """
    # Most values are plain; to encode each of them as BSON takes a tenth of reading a source.
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int and -(1 << 63) <= value < 1 << 63:
        return value
    if type(value) is str and value.isascii():
        return value
    deep = (
        f"{what} is nested too deeply: a document of MongoDB has {MAX_LEVELS} levels at most, "
        f"{levels} of them above this value"
    )
    try:
        converted = value if is_bson else bson_value(value)
        if _deeper_than(MAX_LEVELS - levels, converted):
            raise BadRecord(deep)
        bson.encode({"": converted})
    except RecursionError:
        raise BadRecord(deep) from None
    except UnicodeEncodeError:
        raise BadRecord(f"{what} is not valid UTF-8: it holds a lone surrogate") from None
    except OverflowError:
        raise BadRecord(f"{what} holds an integer beyond 64 bits") from None
    except UNCONVERTIBLE as error:
        raise BadRecord(f"{what} cannot be stored in MongoDB: {str(error)[:120]}") from None
    return converted


def _deeper_than(levels: int, value: Any) -> bool:
    inside = [value]
    for _ in range(levels + 1):
        inside = [outer for outer in inside if isinstance(outer, (dict, list, Mapping))]
        if not inside:
            return False
        inside = [
            inner
            for outer in inside
            for inner in (outer if isinstance(outer, list) else outer.values())
        ]
    return True


def storable_id(value: Any, what: str, *, is_bson: bool = False) -> Any:
    """The value as an `_id`; BadRecord if MongoDB would refuse it as one."""
    if value is MISSING or value is None:
        raise BadRecord(f"{what} is {describe_type(value)}")
    converted = storable(value, what, is_bson=is_bson)
    if isinstance(converted, list | Regex | re.Pattern):
        raise BadRecord(f"{what} is {describe_type(converted)}, which MongoDB refuses as an _id")
    if _has_operator_key(converted):
        raise BadRecord(f"{what} is an object with a $-key, which MongoDB refuses as an _id")
    return converted


def _has_operator_key(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(key.startswith("$") or _has_operator_key(value[key]) for key in value)
    return isinstance(value, list) and any(_has_operator_key(inner) for inner in value)


def describe_type(value: Any) -> str:
    """What the value is, in the words of someone who does not write Python."""
    if value is MISSING:
        return "missing"
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float() | Decimal() | Decimal128():
            return "a number"
        case str():
            return "text"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case date() | DatetimeMS():
            return "a date"
        case Regex() | re.Pattern():
            return "a regular expression"
        case _:
            return f"of type {type(value).__name__}"
