"""BSON values as JSON has them, for those who read documents without BSON."""

import base64
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from bson.binary import UUID_SUBTYPE, Binary
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128

_AS_THEY_ARE = (str, int, type(None))


def id_text(value: Any) -> str:
    """An id as a framework has it, for which ids are text."""
    found = plain(value)
    return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)


def plain(value: Any) -> Any:
    """A BSON value as JSON has it: dates in ISO form (UTC), ids as text, decimals as numbers.

    JSON has no infinity and no NaN: they become nothing, as in LlamaIndex's own writer.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, _AS_THEY_ARE):
        return value
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime):
        # As a driver without `tz_aware` gives it back, so that the text of two dates compares.
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return moment.isoformat()
    if isinstance(value, Decimal128):
        number = value.to_decimal()
        return float(number) if number.is_finite() else None
    if isinstance(value, DatetimeMS):
        return str(int(value))
    if isinstance(value, bytes):
        if isinstance(value, Binary) and value.subtype == UUID_SUBTYPE:
            return str(UUID(bytes=bytes(value)))
        return base64.b64encode(value).decode()
    return str(value)
