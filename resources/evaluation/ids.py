"""Ids of a judged set in the type that the source has them in: files often know text only."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, get_args
from uuid import UUID

from bson.binary import Binary
from bson.code import Code
from bson.errors import InvalidId
from bson.objectid import ObjectId

from resources.core.keys import key, shown

Ids = Literal["as_written", "text", "integer", "objectid", "uuid"]

_INTEGER = re.compile(r"[+-]?\d{1,19}", re.ASCII)
_BEYOND = 1 << 63
_LOOKED_AT = 100
"""Ids that a suggestion rests on."""


def converted(value: Any, ids: Ids) -> Any:
    """An id as the setting `ids` has it.

    Raises:
        ValueError: It cannot be had so; the sentence names it.
    """
    if ids == "as_written":
        return value
    text = value if isinstance(value, str) and not isinstance(value, Code) else None
    found = _CONVERSIONS[ids](value, text)
    if found is None:
        raise ValueError(f"{shown(value)} cannot be an id of `ids: {ids}`")
    return found


def _text(value: Any, text: str | None) -> str | None:
    if text is not None:
        return text
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, Binary) and value.subtype in (3, 4) and len(value) == 16:
        return str(UUID(bytes=bytes(value)))
    number = _integer(value, None)
    return None if number is None else str(number)


def _integer(value: Any, text: str | None) -> int | None:
    digits = text.strip() if text is not None else _digits(value)
    number = int(digits) if _INTEGER.fullmatch(digits) else _BEYOND
    return number if -_BEYOND <= number < _BEYOND else None


def _digits(value: Any) -> str:
    """Of a whole number of any type."""
    named = key(value)
    return named[1:] if named.startswith("n") else ""


def _objectid(value: Any, text: str | None) -> ObjectId | None:
    if isinstance(value, ObjectId):
        return value
    try:
        return None if text is None else ObjectId(text.strip())
    except InvalidId:
        return None


def _uuid(value: Any, text: str | None) -> Binary | None:
    if isinstance(value, Binary) and value.subtype == 4:
        return value
    try:
        return None if text is None else Binary.from_uuid(UUID(text.strip()))
    except ValueError:
        return None


_CONVERSIONS: dict[str, Callable[[Any, str | None], Any]] = {
    "text": _text,
    "integer": _integer,
    "objectid": _objectid,
    "uuid": _uuid,
}


@dataclass(frozen=True)
class Suggestion:
    """A conversion by which more relevant ids would be there.

    Attributes:
        ids: For the setting `ids`.
        there: How many are there then.
        before: How many are there as they are.
        of: How many were looked at.
    """

    ids: Ids
    there: int
    before: int
    of: int

    def __str__(self) -> str:
        return (
            f"of {self.of:,} relevant ids, {self.before:,} are there as the judged set has them, "
            f"and {self.there:,} with `ids: {self.ids}`: set that beside the queries"
        )


def suggestion(
    ids: Iterable[Any], there: Callable[[Sequence[Any]], Collection[str]]
) -> Suggestion | None:
    """Which conversion would have more of a set's ids found; None where none would.

    Args:
        ids: Relevant ids, of which the first hundred are looked at.
        there: Gives the keys (`keys.key`) of those of these ids that are there; asked once for
            each conversion that all of the ids have.
    """
    judged = list({key(each): each for each in islice(ids, _LOOKED_AT)}.values())
    if not judged:
        return None
    before, best = len(_among(judged, there)), None
    for name in get_args(Ids)[1:]:
        try:
            tried = [converted(each, name) for each in judged]
        except ValueError:
            continue
        if list(map(key, tried)) == list(map(key, judged)):
            continue
        found = len(_among(tried, there))
        if found > (best.there if best else before):
            best = Suggestion(name, found, before, len(judged))
    return best


def _among(ids: Sequence[Any], there: Callable[[Sequence[Any]], Collection[str]]) -> set[str]:
    return set(there(ids)) & set(map(key, ids))
