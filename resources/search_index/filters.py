"""MongoDB's pre-filter, evaluated over columns held in memory.

The language is that of `$vectorSearch.filter`; its meaning is that of `find`, against which the
tests compare it. What MongoDB's vector index documents nothing about (a path component that is an
array position) is left out.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from itertools import chain
from typing import Any
from uuid import UUID

import numpy as np
from bson import Binary, Code, Decimal128, ObjectId
from bson.datetime_ms import DatetimeMS
from numpy.typing import NDArray

from resources.errors import QueryRefused

Mask = NDArray[np.bool_]

LOGICAL = ("$and", "$or", "$nor")
RANGES = ("$gt", "$gte", "$lt", "$lte")
OPERATORS = ("$eq", "$ne", *RANGES, "$in", "$nin", "$exists", "$not")
VALUE_TYPES = "boolean, date, number, objectId, string, UUID or null"
MAX_DEPTH = 100  # BSON's own limit

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


_SINGLE = (Kind.MISSING, Kind.NULL, Kind.NAN, Kind.OTHER)
_MISSING = (Kind.MISSING, 0)


def _canonical(value: Any) -> tuple[Kind, Any]:
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


def _leaves(value: Any, parts: Sequence[str]) -> Iterator[tuple[Kind, Any]]:
    """The values a filter on a path sees; MISSING among them where the path leads nowhere."""
    if not parts:
        if isinstance(value, list):
            # an empty array exists, though it has no element
            yield from map(_canonical, value) if value else ((Kind.OTHER, 0),)
        else:
            yield _canonical(value)
    elif isinstance(value, Mapping):
        if parts[0] in value:
            yield from _leaves(value[parts[0]], parts[1:])
        else:
            yield _MISSING
    elif isinstance(value, list):
        # only documents in an array count: {"a": [1]} neither has a.b nor matches {"a.b": null}
        for element in value:
            if isinstance(element, Mapping):
                yield from _leaves(element, parts)
    else:
        yield _MISSING


class FilterColumnBuilder:
    """Collects one filter path of documents, batch by batch."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._parts = path.split(".")
        self._elements: list[dict[Any, int]] = [{} for _ in Kind]  # key -> order of arrival
        self._count = 0
        # The distinct value sets of documents. Almost always a single value: then its number alone.
        self._sets: dict[int | tuple[int, ...], int] = {}
        self._codes = array("i")

    def append(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Adds documents; a key that is the whole dotted path goes before a nested document."""
        for document in documents:
            if self.path in document:
                leaves = _leaves(document[self.path], ())
            else:
                leaves = _leaves(document, self._parts)
            numbers = [self._number(kind, key) for kind, key in leaves]
            members = numbers[0] if len(numbers) == 1 else tuple(sorted(set(numbers)))
            self._codes.append(self._sets.setdefault(members, len(self._sets)))

    def _number(self, kind: Kind, key: Any) -> int:
        # One dictionary per kind: in one for all, Python would merge 1 and True.
        known = self._elements[kind]
        number = known.get(key)
        if number is None:
            number = known[key] = self._count
            self._count += 1
        return number

    def finish(self) -> "FilterColumn":
        tables: list[Any] = []
        rank = np.empty(self._count, np.int32)
        base = 0
        for kind in Kind:
            known = self._elements[kind]
            keys = sorted(known)
            rank[[known[key] for key in keys]] = np.arange(base, base + len(keys), dtype=np.int32)
            base += len(keys)
            tables.append(_table(kind, keys))
        sets = [members if isinstance(members, tuple) else (members,) for members in self._sets]
        offsets = np.zeros(len(sets) + 1, np.int64)
        np.cumsum([len(members) for members in sets], out=offsets[1:])
        flat = np.fromiter(chain.from_iterable(sets), np.int64, count=int(offsets[-1]))
        codes = np.frombuffer(self._codes, np.int32).copy()
        return FilterColumn(self.path, codes, offsets, rank[flat], tables)


def _table(kind: Kind, keys: list[Any]) -> Any:
    """The sorted keys of one kind, as compact as they can be without changing a comparison."""
    if kind is Kind.NUMBER:
        if all(float(key) == key for key in keys):
            return np.array(keys, np.float64)
        return [Decimal(key) for key in keys]  # exact also for integers beyond 2^53
    if kind is Kind.DATE:
        return np.array(keys, np.int64)
    return keys


class FilterColumn:
    """One filter path of all documents, dictionary-encoded.

    A predicate is evaluated once per distinct value: values of one kind are sorted, so that every
    predicate is a few slices of them, which carry over to documents by their code.
    """

    def __init__(
        self,
        path: str,
        codes: NDArray[np.int32],
        set_offsets: NDArray[np.int64],
        set_elements: NDArray[np.int32],
        tables: Sequence[Any],
    ) -> None:
        """Takes over arrays.

        Args:
            path: The dotted path.
            codes: (documents,) number of the document's value set.
            set_offsets: (sets + 1,) where each set begins in `set_elements`.
            set_elements: Numbers of values, counted through all tables.
            tables: Sorted values, one sequence for each kind.
        """
        self.path = path
        self.codes = codes
        self._set_offsets = set_offsets
        self._set_elements = set_elements
        self._tables = tables
        self._bases = np.concatenate([[0], np.cumsum([len(table) for table in tables])]).tolist()

    def __len__(self) -> int:
        return len(self.codes)

    def matches(self, condition: Any) -> Mask:
        """(documents,) for a validated condition: a value, or a mapping of operators."""
        return self._sets_matching(condition)[self.codes]

    def _sets_matching(self, condition: Any) -> Mask:
        if not isinstance(condition, Mapping):
            return self._any([self._slice("$eq", condition)])
        result = np.ones(len(self._set_offsets) - 1, np.bool_)
        for operator, operand in condition.items():
            if operator == "$not":
                result &= ~self._sets_matching(operand)
            elif operator in ("$in", "$nin"):
                found = self._any([self._slice("$eq", value) for value in operand])
                result &= found if operator == "$in" else ~found
            elif operator == "$exists":
                found = self._any([slice(self._bases[Kind.NULL], None)])
                result &= found if operand else ~found
            elif operator == "$ne":
                result &= ~self._any([self._slice("$eq", operand)])
            else:
                result &= self._any([self._slice(operator, operand)])
        return result

    def _slice(self, operator: str, operand: Any) -> slice:
        """The values that match, as numbers through all tables."""
        kind, key = _canonical(operand)
        if kind in _SINGLE:
            if operator in ("$gt", "$lt"):  # nothing is above or below null or NaN
                return slice(0, 0)
            # null equals missing, and the two tables are neighbours
            first = Kind.MISSING if kind is Kind.NULL else kind
            return slice(self._bases[first], self._bases[kind + 1])
        table, base = self._tables[kind], self._bases[kind]
        # float: NumPy would round the integer it compares with
        plain = float if isinstance(table, np.ndarray) and kind is Kind.NUMBER else None
        start, stop = 0, len(table)
        if operator in ("$eq", "$gte"):
            start = bisect_left(table, key, key=plain)
        elif operator == "$gt":
            start = bisect_right(table, key, key=plain)
        if operator in ("$eq", "$lte"):
            stop = bisect_right(table, key, key=plain)
        elif operator == "$lt":
            stop = bisect_left(table, key, key=plain)
        return slice(base + start, base + stop)

    def _any(self, slices: list[slice]) -> Mask:
        """Which sets hold a value of the slices; an empty set holds none."""
        elements = np.zeros(self._bases[-1], np.bool_)
        for part in slices:
            elements[part] = True
        before = np.zeros(len(self._set_elements) + 1, np.int64)
        np.cumsum(elements[self._set_elements], out=before[1:])
        bounds = before[self._set_offsets]
        return bounds[1:] > bounds[:-1]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` takes; no array holds Python objects."""
        arrays: dict[str, NDArray[Any]] = {
            "codes": self.codes,
            "set_offsets": self._set_offsets,
            "set_elements": self._set_elements,
        }
        for kind, table in zip(Kind, self._tables, strict=True):
            if isinstance(table, np.ndarray) or kind in _SINGLE or kind is Kind.BOOLEAN:
                arrays[f"values{kind}"] = np.asarray(table, _dtype(kind))
            else:
                raw = [key if isinstance(key, bytes) else str(key).encode() for key in table]
                arrays[f"values{kind}"] = np.frombuffer(b"".join(raw), np.uint8)
                arrays[f"ends{kind}"] = np.cumsum([len(item) for item in raw], dtype=np.int64)
        return arrays

    @classmethod
    def from_arrays(cls, path: str, arrays: Mapping[str, NDArray[Any]]) -> "FilterColumn":
        """Raises KeyError where an array is missing."""
        tables: list[Any] = []
        for kind in Kind:
            values = arrays[f"values{kind}"]
            if f"ends{kind}" not in arrays:
                compact = kind in (Kind.NUMBER, Kind.DATE)
                tables.append(values if compact else values.tolist())
                continue
            blob, ends = values.tobytes(), arrays[f"ends{kind}"].tolist()
            raw = [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]
            if kind is Kind.NUMBER:
                tables.append([Decimal(item.decode()) for item in raw])
            else:
                tables.append([item.decode() for item in raw] if kind is Kind.STRING else raw)
        sets = arrays["set_offsets"], arrays["set_elements"]
        return cls(path, arrays["codes"], *sets, tables)


def _dtype(kind: Kind) -> str:
    return {Kind.NUMBER: "float64", Kind.DATE: "int64", Kind.BOOLEAN: "bool"}.get(kind, "uint8")


def evaluate(
    clause: Mapping[str, Any], columns: Mapping[str, FilterColumn], count: int | None = None
) -> Mask:
    """Which documents pass a filter.

    Args:
        clause: The filter.
        columns: One column per filter path.
        count: Number of documents, which without any column nothing else tells.

    Returns:
        (documents,)

    Raises:
        QueryRefused: as `validate`.
    """
    validate(clause, columns)
    if count is None:
        count = max(map(len, columns.values()), default=0)
    return _evaluate(clause, columns, count)


def _evaluate(clause: Mapping[str, Any], columns: Mapping[str, FilterColumn], count: int) -> Mask:
    result = np.ones(count, np.bool_)
    for name, condition in clause.items():
        if name not in LOGICAL:
            result &= columns[name].matches(condition)
            continue
        parts = (_evaluate(part, columns, count) for part in condition)
        if name == "$and":
            for part in parts:
                result &= part
        else:
            found = np.zeros(count, np.bool_)
            for part in parts:
                found |= part
            result &= found if name == "$or" else ~found
    return result


def validate(clause: Any, allowed_paths: Iterable[str]) -> None:
    """Checks a filter without any data.

    Raises:
        QueryRefused: names the field or operator, and what is allowed instead.
    """
    _validate(clause, tuple(allowed_paths), 0)


def _validate(clause: Any, paths: tuple[str, ...], depth: int) -> None:
    if not isinstance(clause, Mapping):
        raise QueryRefused(f"A filter is a mapping of fields and operators, not {_type(clause)}.")
    _limit(depth)
    for name, condition in clause.items():
        if name in LOGICAL:
            if not isinstance(condition, (list, tuple)) or not condition:
                raise QueryRefused(f"The filter operator {name} takes a non-empty list of filters.")
            for part in condition:
                _validate(part, paths, depth + 1)
        elif isinstance(name, str) and name.startswith("$"):
            if name in OPERATORS:
                raise QueryRefused(
                    f"The filter operator {name} belongs inside a field, as in "
                    f'{{"field": {{"{name}": …}}}}; outside, {", ".join(LOGICAL)} are allowed.'
                )
            raise _unknown(name, (*LOGICAL, *OPERATORS))
        elif name not in paths:
            declared = ", ".join(map(repr, paths)) or "none"
            raise QueryRefused(
                f"The filter names {name!r}, which is not a filter field of this index; "
                f"declared are: {declared}."
            )
        else:
            _validate_condition(name, condition, depth + 1)


def _validate_condition(path: str, condition: Any, depth: int) -> None:
    if not isinstance(condition, Mapping):
        _validate_value(path, condition)
        return
    _limit(depth)
    operators = [isinstance(key, str) and key.startswith("$") for key in condition]
    if not any(operators):
        raise QueryRefused(
            f"The filter compares {path!r} with a document; a value is {VALUE_TYPES}, "
            f"and nested fields are named by a dotted path."
        )
    if not all(operators):
        raise QueryRefused(
            f"The filter on {path!r} mixes operators with fields: {', '.join(map(str, condition))}."
        )
    for operator, operand in condition.items():
        if operator not in OPERATORS:
            raise _unknown(operator, OPERATORS)
        if operator in ("$in", "$nin"):
            if not isinstance(operand, (list, tuple)):
                raise QueryRefused(f"The filter operator {operator} on {path!r} takes a list.")
            for value in operand:
                _validate_value(path, value)
        elif operator == "$exists":
            if not isinstance(operand, bool):
                raise QueryRefused(
                    f"The filter operator $exists on {path!r} takes true or false, "
                    f"not {_type(operand)}."
                )
        elif operator == "$not":
            if not isinstance(operand, Mapping) or not operand:
                raise QueryRefused(f"The filter operator $not on {path!r} takes operators.")
            _validate_condition(path, operand, depth + 1)
        else:
            _validate_value(path, operand)


def _validate_value(path: str, value: Any) -> None:
    if _canonical(value)[0] is Kind.OTHER:
        raise QueryRefused(
            f"The filter compares {path!r} with {_type(value)}; a value is {VALUE_TYPES}."
        )


def _limit(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise QueryRefused(f"The filter is nested more than {MAX_DEPTH} levels deep.")


def _unknown(operator: str, allowed: Sequence[str]) -> QueryRefused:
    return QueryRefused(f"Unknown filter operator {operator}; allowed are {', '.join(allowed)}.")


def _type(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
