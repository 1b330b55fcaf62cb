"""What of a filter in MQL the search nodes can judge; the rest is mongod's.

`$search` compares less than MQL does: it knows no Decimal128, no null that is missing, numbers to
15 digits, tokens of a bounded length. So every text search is followed by a `$match` with the
whole filter, which alone decides; here are only conditions that whatever passes the filter meets
for certain. They keep the search nodes from sending what mongod would throw away, and mongod goes
on asking for more until it has enough: no limit is widened, and none cuts anything off.

Numbers are left to mongod, though that costs where few documents pass: a Decimal128, as prices are
stored, would be lost.

Source of the operators: "in" and "range" of the MongoDB Search documentation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bson import Binary

from resources.search_index.filters.values import Kind, canonical

MOST_BRANCHES = 500
"""Of an alternative: Lucene takes 1,024 clauses in one query."""
MOST_BYTES = 1_000
"""Of a string: longer ones are not sure to be in a `token` field."""
DEEPEST = 10
_EQUAL = {Kind.BOOLEAN, Kind.STRING, Kind.DATE, Kind.OBJECT_ID, Kind.UUID}
_ORDERED = {Kind.DATE, Kind.OBJECT_ID}
_RANGES = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}

Clause = dict[str, Any]


def implied(filter: Mapping[str, Any], paths: set[str]) -> list[Clause]:  # noqa: A002
    """Clauses of `compound.filter` that every document meets which passes a valid filter.

    Args:
        filter: In MQL.
        paths: That the index has for filtering.
    """
    return _all(filter, paths, 0)


def _all(part: Mapping[str, Any], paths: set[str], depth: int) -> list[Clause]:
    found: list[Clause] = []
    for name, condition in part.items():
        if name == "$and":
            for each in condition:
                found += _all(each, paths, depth + 1)
        elif name == "$or":
            found += _any(condition, paths, depth + 1)
        elif name in paths and not _positions(name):
            found += _field(name, condition)
    return found


def _any(branches: Sequence[Mapping[str, Any]], paths: set[str], depth: int) -> list[Clause]:
    """One alternative, or nothing where a branch is left to mongod: it may let anything pass."""
    if len(branches) > MOST_BRANCHES or depth > DEEPEST:
        return []
    alternatives = []
    for branch in branches:
        clauses = _all(branch, paths, depth)
        if not clauses:
            return []
        alternatives.append(clauses[0] if len(clauses) == 1 else {"compound": {"filter": clauses}})
    return [{"compound": {"should": alternatives, "minimumShouldMatch": 1}}]


def _field(path: str, condition: Any) -> list[Clause]:
    if not isinstance(condition, Mapping):
        return _equal(path, [condition])
    found: list[Clause] = []
    for operator, operand in condition.items():
        if operator == "$eq":
            found += _equal(path, [operand])
        elif operator == "$in":
            found += _equal(path, operand)
        elif operator in _RANGES and canonical(operand)[0] in _ORDERED:
            # One clause each: of an array, two elements may meet one bound each.
            found.append({"range": {"path": path, _RANGES[operator]: operand}})
    return found


def _equal(path: str, values: Sequence[Any]) -> list[Clause]:
    """One clause for each kind of value: the operator takes no mixture."""
    kinds: dict[Kind, list[Any]] = {}
    for value in values:
        kind, comparable = canonical(value)
        if kind not in _EQUAL or (kind is Kind.STRING and not _surely_a_token(value)):
            return []
        kinds.setdefault(kind, []).append(Binary(comparable, 4) if kind is Kind.UUID else value)
    clauses: list[Clause] = [{"in": {"path": path, "value": each}} for each in kinds.values()]
    if len(clauses) > 1:
        return [{"compound": {"should": clauses, "minimumShouldMatch": 1}}]
    return clauses


def _surely_a_token(value: str) -> bool:
    return 0 < len(value.encode("utf-8", "surrogatepass")) <= MOST_BYTES


def _positions(path: str) -> bool:
    """Whether a part of the path may be a place in an array, which only MQL knows."""
    return any(part.isdigit() for part in path.split("."))
