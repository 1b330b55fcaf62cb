"""Ids as MongoDB's unique index sees them, and BSON values as text that gives them back exactly.

Source: MongoDB's manual on comparison order (numbers of all types compare by value, also inside of
documents, whose fields compare in order), checked pair by pair against a mongod in the tests.
"""

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import bson
import bson.errors
from bson import json_util
from bson.binary import Binary, UuidRepresentation
from bson.code import Code
from bson.codec_options import DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.regex import Regex
from bson.timestamp import Timestamp

# Binary data and dates as they are: a UUID would lose its subtype, a date after 9999 has no Python.
EXACT: bson.CodecOptions = bson.CodecOptions(
    uuid_representation=UuidRepresentation.UNSPECIFIED,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
WRITTEN: bson.CodecOptions = bson.CodecOptions(uuid_representation=UuidRepresentation.STANDARD)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEYOND_FLOATS = 1 << 1024
_BSON = "b:"
SHOWN = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, uuid_representation=UuidRepresentation.STANDARD
)
_CANONICAL = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, uuid_representation=UuidRepresentation.STANDARD
)


def key(value: Any) -> str:
    """Equal for two values exactly when MongoDB's unique index takes them for one."""
    if type(value) is str:
        return f"s{value}"
    if type(value) is int or type(value) is Int64:
        return f"n{int(value)}"
    if type(value) is ObjectId:
        return f"o{value}"
    return _key(value)


def _key(value: Any) -> str:
    match value:
        case bool():
            return f"t{value:d}"
        case int() | float() | Decimal128():
            return _number(value)
        case Code():  # a str to Python
            return f"c{json.dumps([str(value), value.scope and _key(value.scope)])}"
        case str():
            return f"s{value}"
        case ObjectId():
            return f"o{value}"
        case None:
            return "z"
        case Mapping():
            return "{" + json.dumps([[name, key(inner)] for name, inner in value.items()])
        case list() | tuple():
            return "[" + json.dumps([key(inner) for inner in value])
        case UUID():
            return f"x4:{value.hex}"
        case Binary():
            return f"x{value.subtype}:{value.hex()}"
        case bytes():
            return f"x0:{value.hex()}"
        case datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            return f"d{(moment - _EPOCH) // timedelta(milliseconds=1)}"
        case DatetimeMS():
            return f"d{int(value)}"
        case Timestamp():
            return f"m{value.time}:{value.inc}"
        case Regex():
            return f"r{int(value.flags)}:{value.pattern!r}"
        case DBRef():
            return _key(value.as_doc())
        case MinKey():
            return "<"
        case MaxKey():
            return ">"
    return f"?{bson.encode({'': value}, codec_options=WRITTEN).hex()}"


def _number(value: int | float | Decimal128) -> str:
    exact: int | float | Decimal = value.to_decimal() if isinstance(value, Decimal128) else value
    if exact != exact:
        return "nan"
    if exact in (float("inf"), float("-inf")):
        return "n+inf" if exact > 0 else "n-inf"
    above, below = (exact, 1) if isinstance(exact, int) else exact.as_integer_ratio()
    if below != 1:
        return f"q{above:x}/{below:x}"
    # Python writes no decimal integers of thousands of digits, as Decimal128 has them.
    return f"n{int(above)}" if abs(above) < _BEYOND_FLOATS else f"n{above:x}x"


def encode(value: Any) -> str:
    """Any BSON value as text, from which `decode` makes the same value of the same type."""
    # By far the most common ids and fields need none of what BSON has beyond JSON.
    kind = type(value)
    if kind is str or (kind is dict and _plain(value)):
        return _dumps(value)
    if kind is int:
        return str(value)
    if kind is ObjectId:
        return f'{{"$oid": "{value}"}}'
    # Encoded as it is written, so that it is written as it came.
    return _BSON + base64.b64encode(bson.encode({"": value}, codec_options=WRITTEN)).decode()


def decode(text: str) -> Any:
    """What `encode` was given."""
    if text[0] == '"' and "\\" not in text:
        return text[1:-1]
    if text.startswith(_BSON):
        return bson.decode(base64.b64decode(text[len(_BSON) :]), codec_options=EXACT)[""]
    if "$" not in text:
        return json.loads(text)
    return json_util.loads(text, json_options=SHOWN)


def shown(value: Any) -> str:
    """For people: text as it is, other ids as Extended JSON, so that they can be told apart."""
    if isinstance(value, str) and not isinstance(value, Code):
        return value
    return json_util.dumps(value, json_options=SHOWN, ensure_ascii=False)


def _plain(value: dict[str, Any]) -> bool:
    return _PLAIN.issuperset(map(type, value.values())) and not any("$" in name for name in value)


_PLAIN = {str, int, bool, type(None)}
_dumps = json.JSONEncoder(ensure_ascii=False).encode


def candidates(text: str) -> list[Any]:
    """Every id that somebody may mean who writes this: the text itself, or Extended JSON.

    `5` is the text and the number; `"5"` in quotes is the text alone, `{"$numberInt": "5"}` the
    number; 24 hexadecimal digits are an ObjectId too, a UUID as text one in both of its subtypes.
    """
    found: list[Any] = [text]
    with suppress(ValueError, TypeError, bson.errors.BSONError):
        value = json_util.loads(text, json_options=SHOWN)
        if value is not None:
            found.append(value)
    with suppress(bson.errors.InvalidId):
        found.append(ObjectId(text))
    with suppress(ValueError):
        found += [Binary(UUID(text).bytes, subtype) for subtype in (4, 3)]
    return list({key(value): value for value in found}.values())


def exactly(value: Any) -> str:
    """An id such that `candidates` finds no other than this one among those that are there."""
    if isinstance(value, str) and not isinstance(value, Code):
        return _dumps(value)
    return json_util.dumps(value, json_options=_CANONICAL, ensure_ascii=False)
