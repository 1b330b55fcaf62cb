"""MongoDB's pre-filter, evaluated over columns held in memory.

The language is that of `$vectorSearch.filter`; its meaning is that of `find`, against which the
tests compare it. What MongoDB's vector index documents nothing about (a path component that is an
array position) is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from resources.core.errors import QueryRefused
from resources.search_index.filters.columns import FilterColumn, Mask
from resources.search_index.filters.values import Kind, canonical

LOGICAL = ("$and", "$or", "$nor")
OPERATORS = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not")
VALUE_TYPES = "boolean, date, number, objectId, string, UUID or null"
MAX_DEPTH = 100  # BSON's own limit


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
        raise QueryRefused(f"a filter is a mapping of fields and operators, not {_type(clause)}")
    _limit(depth)
    for name, condition in clause.items():
        if name in LOGICAL:
            if not isinstance(condition, (list, tuple)) or not condition:
                raise QueryRefused(f"the filter operator {name} takes a non-empty list of filters")
            for part in condition:
                _validate(part, paths, depth + 1)
        elif isinstance(name, str) and name.startswith("$"):
            if name in OPERATORS:
                raise QueryRefused(
                    f"the filter operator {name} belongs inside a field, as in "
                    f'{{"field": {{"{name}": …}}}}; outside, {", ".join(LOGICAL)} are allowed'
                )
            raise _unknown(name, (*LOGICAL, *OPERATORS))
        elif name not in paths:
            declared = ", ".join(map(repr, paths)) or "none"
            raise QueryRefused(
                f"the filter names {name!r}, which is not a filter field of this index; "
                f"declared are: {declared}"
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
            f"the filter compares {path!r} with a document; a value is {VALUE_TYPES}, "
            "and nested fields are named by a dotted path"
        )
    if not all(operators):
        raise QueryRefused(
            f"the filter on {path!r} mixes operators with fields: {', '.join(map(str, condition))}"
        )
    for operator, operand in condition.items():
        if operator not in OPERATORS:
            raise _unknown(operator, OPERATORS)
        if operator in ("$in", "$nin"):
            if not isinstance(operand, (list, tuple)):
                raise QueryRefused(f"the filter operator {operator} on {path!r} takes a list")
            for value in operand:
                _validate_value(path, value)
        elif operator == "$exists":
            if not isinstance(operand, bool):
                raise QueryRefused(
                    f"the filter operator $exists on {path!r} takes true or false, "
                    f"not {_type(operand)}"
                )
        elif operator == "$not":
            if not isinstance(operand, Mapping) or not operand:
                raise QueryRefused(f"the filter operator $not on {path!r} takes operators")
            _validate_condition(path, operand, depth + 1)
        else:
            _validate_value(path, operand)


def _validate_value(path: str, value: Any) -> None:
    if canonical(value)[0] is Kind.OTHER:
        raise QueryRefused(
            f"the filter compares {path!r} with {_type(value)}; a value is {VALUE_TYPES}"
        )


def _limit(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise QueryRefused(f"the filter is nested more than {MAX_DEPTH} levels deep")


def _unknown(operator: str, allowed: Sequence[str]) -> QueryRefused:
    return QueryRefused(f"unknown filter operator {operator}; allowed are {', '.join(allowed)}")


def _type(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
