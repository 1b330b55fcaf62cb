"""The values that a filter compares: which kinds there are, and how MongoDB orders them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any
from uuid import UUID

from bson import Binary, Code, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Kind(IntEnum):
    """Values of different kinds never equal each other, nor is one below or above the other."""

    MISSING = 0
    NULL = 1
    NAN = 2
    OTHER = 3  # exists, but no filter value equals it: a document, an array in an array, a regex
    BOOLEAN = 4
    NUMBER = 5
    STRING = 6
    DATE = 7  # milliseconds since 1970
    OBJECT_ID = 8
    UUID = 9


# Kinds with a single value: their tables have at most one entry.
SINGLE = (Kind.MISSING, Kind.NULL, Kind.NAN, Kind.OTHER)
_MISSING = (Kind.MISSING, 0)


def canonical(value: Any) -> tuple[Kind, Any]:
    """A kind and a key that is equal, and sorts, as MongoDB compares values of that kind."""
    result: tuple[Kind, Any] = (Kind.OTHER, 0)
    if value is None:
        result = Kind.NULL, 0
    elif isinstance(value, bool):  # before int: to Python, True is 1
        result = Kind.BOOLEAN, value
    elif isinstance(value, str) and not isinstance(value, Code):
        result = Kind.STRING, value  # by code point, which is the order of the UTF-8 bytes
    elif isinstance(value, int):
        result = Kind.NUMBER, value
    elif isinstance(value, float):
        result = (Kind.NAN, 0) if math.isnan(value) else (Kind.NUMBER, value)
    elif isinstance(value, datetime):
        # naive is UTC, as in PyMongo; BSON keeps milliseconds
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        delta = aware - _EPOCH
        seconds = delta.days * 86_400 + delta.seconds
        result = Kind.DATE, seconds * 1000 + delta.microseconds // 1000
    elif isinstance(value, DatetimeMS):
        result = Kind.DATE, int(value)
    elif isinstance(value, ObjectId):
        result = Kind.OBJECT_ID, value.binary
    elif isinstance(value, UUID):
        result = Kind.UUID, value.bytes
    elif isinstance(value, Binary) and value.subtype == 4 and len(value) == 16:
        result = Kind.UUID, bytes(value)
    elif isinstance(value, Decimal128):
        number = value.to_decimal()
        result = (Kind.NAN, 0) if number.is_nan() else (Kind.NUMBER, number)
    return result


def leaves(value: Any, parts: Sequence[str]) -> Iterator[tuple[Kind, Any]]:
    """The values a filter on a path sees; MISSING among them where the path leads nowhere."""
    if not parts:
        if isinstance(value, list):
            # an empty array exists, though it has no element
            yield from map(canonical, value) if value else ((Kind.OTHER, 0),)
        else:
            yield canonical(value)
    elif isinstance(value, Mapping):
        if parts[0] in value:
            yield from leaves(value[parts[0]], parts[1:])
        else:
            yield _MISSING
    elif isinstance(value, list):
        # only documents in an array count: {"a": [1]} neither has a.b nor matches {"a.b": null}
        for element in value:
            if isinstance(element, Mapping):
                yield from leaves(element, parts)
    else:
        yield _MISSING
