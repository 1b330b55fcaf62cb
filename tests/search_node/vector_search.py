"""The stage `$vectorSearch`: what it refuses, what it finds, and with which score."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from pymongo.collection import Collection

from tests.search_node.content import indexed, parse
from tests.search_node.definitions import filter_paths, invalid, vector_fields

KEYS = {
    "index", "path", "queryVector", "exact", "numCandidates", "limit", "filter",
    "returnStoredSource", "searchNodePreference", "explainOptions", "parentFilter", "nestedOptions",
}  # fmt: skip
OPERATORS = {"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$not"}
LOGICAL = {"$and", "$or", "$nor"}


def check(stage: Mapping[str, Any]) -> None:
    """What is refused whatever index there is."""
    for name in stage:
        if name not in KEYS:
            raise invalid(f'"$vectorSearch" contains unrecognized field "{name}"')
    for name in ("index", "path", "queryVector", "limit"):
        if name not in stage:
            raise invalid(f'"{name}" is required')
    if not stage["index"]:
        raise invalid('"index" cannot be empty')
    limit, candidates = stage["limit"], stage.get("numCandidates")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise invalid('"limit" must be positive')
    if stage.get("exact"):
        if candidates is not None:
            raise invalid('"numCandidates" must be omitted when "exact" is true')
    else:
        if candidates is None:
            raise invalid('"numCandidates" is required when "exact" is false')
        if not 1 <= candidates <= 10_000:
            raise invalid('"numCandidates" must be within bounds [1, 10000]')
        if candidates < limit:
            raise invalid('"numCandidates" must be greater than or equal to "limit"')
    parsed = parse(stage["queryVector"])
    if parsed is None:
        raise invalid('"queryVector" must be an array of numbers or a BinData vector')
    if not np.isfinite(parsed[1]).all():
        raise invalid('"queryVector" cannot contain NaN or Infinity')


def find(
    stage: Mapping[str, Any],
    definition: Mapping[str, Any],
    collection: Collection,
    behind: int,
    int8_too: bool,
) -> list[tuple[Any, float]]:
    """Ids and scores, best first; ties in natural order."""
    field = vector_fields(definition).get(stage["path"])
    if field is None:
        raise invalid(f"{stage['path']} is not indexed as vector")
    element, query = parse(stage["queryVector"]) or ("", np.empty(0))
    if len(query) != field["numDimensions"]:
        raise invalid(
            f"vector field is indexed with {field['numDimensions']} dimensions but queried with "
            f"{len(query)}"
        )
    similarity = field["similarity"]
    if element == "int1" and similarity != "euclidean":
        raise invalid("int1 vectors can only be queried with euclidean similarity")
    if similarity == "cosine" and not query.any():
        raise invalid("Cosine similarity cannot be calculated against a zero vector")
    held = indexed(collection, field, behind, int8_too)
    if "filter" in stage:
        _check_filter(stage["filter"], filter_paths(definition))
        # The genuine mongod says what its own filter language means.
        passing = [row["_id"] for row in collection.find(stage["filter"], {"_id": 1})]
        held = {place: row for place, row in held.items() if row[0] in passing}
    scored = [
        (-_score(element, similarity, query, vector), place, key)
        for place, (key, theirs, vector) in held.items()
        if theirs == element  # another type is not found, and nothing says so
    ]
    return [
        (key, -score) for score, _, key in sorted(scored, key=lambda s: s[:2])[: stage["limit"]]
    ]


def _score(element: str, similarity: str, a: np.ndarray, b: np.ndarray) -> float:
    if element == "int1":
        value = float((a == b).mean())
    elif similarity == "euclidean":
        value = 1 / (1 + float(((a - b) ** 2).sum()))
    elif similarity == "cosine":
        value = max((1 + float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))) / 2, 0.0)
    elif element == "int8":
        value = 0.5 + float(a @ b) / (len(a) * 2**15)
    else:
        value = max((1 + float(a @ b)) / 2, 0.0)
    return float(np.float32(value))


def _check_filter(clause: Any, paths: list[str]) -> None:
    if not isinstance(clause, Mapping):
        raise invalid('"filter" must be a document')
    for name, condition in clause.items():
        if name in LOGICAL:
            if not isinstance(condition, list) or not condition:
                raise invalid(f'"{name}" must be a non-empty array')
            for part in condition:
                _check_filter(part, paths)
        elif name.startswith("$"):
            raise invalid(f'Operator "{name}" is not supported in "filter"')
        elif name not in paths:
            raise invalid(f"Path '{name}' needs to be indexed as token")
        else:
            _check_condition(condition)


def _check_condition(condition: Any) -> None:
    if isinstance(condition, Mapping):
        for operator, operand in condition.items():
            if operator not in OPERATORS:
                raise invalid(f'Operator "{operator}" is not supported in "filter"')
            if operator == "$not":
                _check_condition(operand)
