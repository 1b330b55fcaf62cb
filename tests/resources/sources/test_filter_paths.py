"""Which fields a query looks at, wherever in it they stand."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.sources.filter_paths import ANYTHING, depends_on, paths_of

EXAMPLES: list[tuple[dict[str, Any], set[str]]] = [
    ({}, set()),
    ({"a": 1}, {"a"}),
    ({"a.b": {"$exists": False}}, {"a.b"}),
    ({"a": {"b": 1}}, {"a"}),
    ({"$and": [{"a": 1}, {"$or": [{"b": 1}, {"$nor": [{"c": 1}]}]}]}, {"a", "b", "c"}),
    ({"a": {"$not": {"$elemMatch": {"b": 1, "$or": [{"c": 1}]}}}}, {"a", "a.b", "a.c"}),
    ({"a": {"$elemMatch": {"$gt": 5}}}, {"a"}),
    ({"a": {"$in": [{"b": 1}]}}, {"a"}),
    ({"$expr": {"$eq": ["$a.b", "$$ROOT.c"]}}, {"a.b", "c"}),
    ({"$expr": {"$eq": ["$$CURRENT.a", {"$literal": "$b"}]}}, {"a"}),
    ({"$expr": {"$gt": [{"$getField": "a"}, 1]}}, {"a"}),
    ({"$expr": {"$getField": {"field": {"$literal": "$a"}, "input": "$b"}}}, {"b.$a"}),
    ({"$expr": {"$getField": {"field": {"$concat": ["a", "b"]}}}}, {ANYTHING}),
    ({"$expr": {"$let": {"vars": {"x": "$a"}, "in": {"$eq": ["$$x.b", 1]}}}}, {"a", "a.b"}),
    ({"$expr": {"$let": {"vars": {"x": "$$ROOT"}, "in": "$$x.b"}}}, {"b"}),
    (
        {"$expr": {"$filter": {"input": "$a", "as": "x", "cond": {"$gt": ["$$x.b", "$c"]}}}},
        {"a", "a.b", "c"},
    ),
    ({"$expr": {"$map": {"input": "$a", "in": "$$this.b"}}}, {"a", "a.b"}),
    ({"$expr": {"$ifNull": ["$$ROOT", 1]}}, {ANYTHING}),
    ({"$expr": {"$objectToArray": "$$CURRENT"}}, {ANYTHING}),
    ({"$expr": {"$function": {"body": "f", "args": [], "lang": "js"}}}, {ANYTHING}),
    ({"$where": "this.a"}, {ANYTHING}),
    ({"$text": {"$search": "a"}}, {ANYTHING}),
    ({"$comment": "a", "b": 1}, {"b"}),
    (
        {"$jsonSchema": {"required": ["a"], "properties": {"b": {"properties": {"c": {}}}}}},
        {"a", "b", "b.c"},
    ),
    ({"$jsonSchema": {"anyOf": [{"required": ["a"]}, {"not": {"required": ["b"]}}]}}, {"a", "b"}),
    ({"$jsonSchema": {"properties": {"a": {"items": {"required": ["b"]}}}}}, {"a", "a.b"}),
    ({"$jsonSchema": {"additionalProperties": False}}, {ANYTHING}),
]


@pytest.mark.parametrize(("query", "paths"), EXAMPLES)
def test_the_paths_of_a_query(query: dict[str, Any], paths: set[str]) -> None:
    assert paths_of(query) == paths


@pytest.mark.parametrize(
    ("found", "path", "depends"),
    [
        ("a", "a", True),
        ("a.b", "a", True),
        ("a", "a.b", True),
        ("a.0.b", "a.b", True),
        ("ab", "a", False),
        ("a", "ab", False),
        ("a.c", "a.b", False),
    ],
)
def test_inside_and_around(found: str, path: str, depends: bool) -> None:
    assert depends_on({found: 1}, path) == depends
    assert depends_on({"$expr": {"$eq": [f"${found}", 1]}}, path) == depends
    assert depends_on({"$where": "f()"}, path)


PATHS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(".".join)
Known = tuple[dict[str, Any], set[str]]


def named(path: str) -> st.SearchStrategy[Known]:
    """A query over one path."""
    root, _, rest = path.partition(".")
    forms: list[Known] = [
        ({path: {"$exists": False}}, {path}),
        ({path: {"$not": {"$in": ["d", {"d": 1}]}}}, {path}),
        ({"$expr": {"$gt": [f"${path}", "d"]}}, {path}),
        ({"$expr": {"$not": {"$eq": [f"$$ROOT.{path}", {"$literal": "$d"}]}}}, {path}),
        ({"$expr": {"$cond": [True, {"$size": [f"$$CURRENT.{path}"]}, 1]}}, {path}),
        ({"$expr": {"$let": {"vars": {"v": f"${path}"}, "in": {"$gt": ["$$v", 1]}}}}, {path}),
    ]
    if rest:
        forms += [
            ({root: {"$elemMatch": {rest: 1}}}, {root, path}),
            ({root: {"$not": {"$elemMatch": {"$nor": [{rest: 1}]}}}}, {root, path}),
            ({"$expr": {"$let": {"vars": {"v": f"${root}"}, "in": f"$$v.{rest}"}}}, {root, path}),
            ({"$jsonSchema": {"properties": {root: {"required": [rest]}}}}, {root, path}),
        ]
    return st.sampled_from(forms)


def combined(parts: tuple[str, list[Known]]) -> Known:
    operator, known = parts
    paths = set[str]().union(*(paths for _, paths in known))
    return {operator: [query for query, _ in known]}, paths


LOGICAL = st.sampled_from(["$and", "$or", "$nor"])
QUERIES: st.SearchStrategy[Known] = st.recursive(
    PATHS.flatmap(named),
    lambda inner: st.tuples(LOGICAL, st.lists(inner, min_size=1)).map(combined),
    max_leaves=6,
)


@settings(max_examples=300)
@given(QUERIES, PATHS)
def test_no_path_is_hidden_by_nesting(known: Known, path: str) -> None:
    query, paths = known
    assert paths_of(query) == paths
    expected = any(
        f"{one}.".startswith(f"{path}.") or f"{path}.".startswith(f"{one}.") for one in paths
    )
    assert depends_on(query, path) == expected
