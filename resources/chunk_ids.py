"""Ids of chunks: which document, which text of it, and the how-manieth of the same text.

Two documents never share one. Text and ObjectIds keep the plain form `id#hash` that stored chunks
have: most collections and every CSV file have such ids, and numbers in CSV are text. What else
could be taken for one of them (5 for "5") ends in `:hash`, as no plain form does. A chunk whose id
changes is written anew, but not embedded: its vector is found by its text.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Context, Decimal
from typing import Any

import bson
from bson import json_util
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId

_LIKE_AN_OBJECT_ID = re.compile("[0-9a-f]{24}")
# The longest double has 767 significant digits.
_EXACT = Context(prec=800, Emin=-999_999, Emax=999_999)


def chunk_id(source_id: Any, text_hash: str, number: int) -> str:
    """The id of a chunk.

    Args:
        source_id: Of its document.
        text_hash: SHA-256 of its text.
        number: 1 for the first chunk of this text in the document, 2 for the second.
    """
    repeat = f"-{number}" if number > 1 else ""
    return f"{_name(source_id)}{text_hash[:16]}{repeat}"


def _name(source_id: Any) -> str:
    if isinstance(source_id, ObjectId):
        return f"{source_id}#"
    if isinstance(source_id, str) and not _LIKE_AN_OBJECT_ID.fullmatch(source_id):
        return f"{source_id}#"
    return f"{_key(source_id)}:"


def _key(value: Any) -> str:
    """The value as text, equal where MongoDB's unique index says that two are."""
    match value:
        case bool() | None | str():
            return json.dumps(value, ensure_ascii=False)
        case int():
            return str(int(value))
        case float() | Decimal128():
            return _number(value)
        case Mapping():
            pairs = (f"{_key(name)}:{_key(inner)}" for name, inner in value.items())
            return "{" + ",".join(pairs) + "}"
        case list():
            return "[" + ",".join(map(_key, value)) + "]"
        case datetime():
            # Milliseconds, whether Python can hold the date or not; a date without zone is UTC.
            return f"date {int(DatetimeMS(value))}"
        case DatetimeMS():
            return f"date {int(value)}"
        case _:
            # As the server will give it back: bytes and a Binary of subtype 0 are one value.
            (stored,) = bson.decode(bson.encode({"": value})).values()
            return json_util.dumps(stored, json_options=json_util.CANONICAL_JSON_OPTIONS)


def _number(value: float | Decimal128) -> str:
    number = value.to_decimal() if isinstance(value, Decimal128) else Decimal(value)
    if number.is_nan():
        return "NaN"
    if not number.is_finite():
        return "Infinity" if number > 0 else "-Infinity"
    if number == number.to_integral_value(context=_EXACT) and abs(number) < 2**64:
        return str(int(number))
    return str(number.normalize(_EXACT))
