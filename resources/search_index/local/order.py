"""The order of ids, by which equal scores are ordered: that of MongoDB for what ids mostly are."""

from typing import Any
from uuid import UUID

from bson import Binary, Decimal128, ObjectId
from bson.code import Code

from resources.core.keys import key

_FIRST = (0,)
_NUMBER, _STRING, _OTHER, _BINARY, _OBJECT_ID = 1, 2, 3, 4, 5


def order(value: Any) -> tuple[Any, ...]:
    """A sort key: equal ids have an equal one, and any two ids can be compared by theirs.

    Source: MongoDB's manual on comparison order. What is rare as an id (documents, dates, booleans
    …) has a place of its own, in which it is ordered by its key.
    """
    found: tuple[Any, ...] = (_OTHER, key(value))
    if value is None:
        found = _FIRST
    elif isinstance(value, str) and not isinstance(value, Code):
        found = (_STRING, value)  # by code point, which is the order of the UTF-8 bytes
    elif isinstance(value, (int, float, Decimal128)) and not isinstance(value, bool):
        number: Any = value.to_decimal() if isinstance(value, Decimal128) else value
        found = (_NUMBER, number) if number == number else (_NUMBER,)  # NaN is the least
    elif isinstance(value, ObjectId):
        found = (_OBJECT_ID, value.binary)
    elif isinstance(value, UUID):
        found = (_BINARY, 16, 4, value.bytes)
    elif isinstance(value, Binary):
        found = (_BINARY, len(value), value.subtype, bytes(value))
    elif isinstance(value, bytes):
        found = (_BINARY, len(value), 0, value)
    return found
