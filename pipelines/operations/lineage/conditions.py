"""Filters of `embeddings lineage`: conditions on documents, which only look."""

from collections.abc import Mapping
from typing import Any

from resources.core.errors import QueryRefused

LOGICAL = ("$and", "$or", "$nor")
OPERATORS = (
    "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not", "$type", "$size",
    "$all", "$elemMatch", "$regex", "$options", "$mod",
)  # fmt: skip
MAX_DEPTH = 100
_SCRIPTS = ("$where", "$function", "$accumulator")


def check(clause: Any) -> Mapping[str, Any]:
    """Refuse what is more than a condition on fields.

    Args:
        clause: A MongoDB query, its values as BSON has them.

    Raises:
        QueryRefused: It runs a script, or has an operator that is not known; it says which are.
    """
    if not isinstance(clause, Mapping):
        raise QueryRefused(
            f"a filter is a mapping of fields and conditions, not {type(clause).__name__}: "
            '{"embedding_lineage.run": "…"}'
        )
    _clause(clause, 0)
    return clause


def _clause(clause: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise QueryRefused(f"the filter is nested more than {MAX_DEPTH} levels deep: make it flat")
    if not isinstance(clause, Mapping):
        raise QueryRefused(f"the filter has {clause!r} where a mapping of fields belongs")
    for name, value in clause.items():
        if name in LOGICAL:
            if not isinstance(value, list) or not value:
                raise QueryRefused(f"the filter operator {name} takes a non-empty list of filters")
            for each in value:
                _clause(each, depth + 1)
        elif name.startswith("$"):
            _refuse(name)
        else:
            _condition(value, depth + 1)


def _condition(value: Any, depth: int) -> None:
    """A value that a field is compared with, or operators."""
    if depth > MAX_DEPTH:
        raise QueryRefused(f"the filter is nested more than {MAX_DEPTH} levels deep: make it flat")
    if not isinstance(value, Mapping) or not any(str(name).startswith("$") for name in value):
        return
    others = [name for name in value if name not in OPERATORS]
    for name in others:
        if name.startswith("$"):
            _refuse(name)
    if others:
        raise QueryRefused(
            f"the filter has the field {others[0]!r} beside operators: give each a mapping of its "
            "own"
        )
    for name, inner in value.items():
        if name == "$not":
            _condition(inner, depth + 1)
        elif name == "$elemMatch" and isinstance(inner, Mapping):
            operators = any(each in OPERATORS for each in inner)
            (_condition if operators else _clause)(inner, depth + 1)


def _refuse(name: str) -> None:
    if name in _SCRIPTS:
        raise QueryRefused(
            f"the filter operator {name} runs a script on the server, which a filter here does "
            'not: compare fields with values, as {"year": {"$gte": 2000}}'
        )
    known = ", ".join((*LOGICAL, *OPERATORS))
    raise QueryRefused(f"the filter operator {name} is not taken here; there are {known}")
