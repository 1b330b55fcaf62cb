"""Filters of `embeddings lineage`: conditions at any depth are taken, and nothing else is."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.operations.lineage.conditions import LOGICAL, OPERATORS, check
from resources.core.errors import QueryRefused

NAMES = st.sampled_from(["kind", "a.b", "embedding_lineage.run"])
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
PLAIN = st.sampled_from(["$eq", "$ne", "$gt", "$exists"])
NESTED = st.recursive(
    st.dictionaries(NAMES, VALUES, min_size=1, max_size=2),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(LOGICAL), st.lists(inner, min_size=1, max_size=2)).map(
            lambda pair: {pair[0]: pair[1]}
        ),
        st.tuples(NAMES, inner).map(lambda pair: {pair[0]: {"$elemMatch": pair[1]}}),
        st.tuples(NAMES, PLAIN, VALUES).map(lambda each: {each[0]: {"$not": {each[1]: each[2]}}}),
    ),
    max_leaves=4,
)
FORBIDDEN = st.sampled_from(["$where", "$function", "$accumulator", "$expr", "$near", "$text"])


@given(NESTED)
def test_conditions_are_taken_at_any_depth(clause: dict[str, Any]):
    assert check(clause) is clause


@given(clause=NESTED, name=FORBIDDEN, data=st.data())
def test_an_operator_that_is_none_is_found_wherever_it_stands(
    clause: dict[str, Any], name: str, data: st.DataObject
):
    at = clause
    while True:
        below = [
            each
            for value in at.values()
            for each in (value if isinstance(value, list) else [value])
            if isinstance(each, dict)
        ]
        if not below or data.draw(st.booleans()):
            break
        at = data.draw(st.sampled_from(below))
    at[name] = 1
    with pytest.raises(QueryRefused, match=name.replace("$", r"\$")):
        check(clause)


def test_what_is_taken_is_listed():
    with pytest.raises(QueryRefused) as raised:
        check({"$near": 1})
    assert all(name in str(raised.value) for name in (*LOGICAL, *OPERATORS))
    for wrong in ([], "x", None):
        with pytest.raises(QueryRefused, match="mapping"):
            check(wrong)
    deep: dict[str, Any] = {"kind": 1}
    for _ in range(200):
        deep = {"$and": [deep]}
    with pytest.raises(QueryRefused, match="levels deep"):
        check(deep)
