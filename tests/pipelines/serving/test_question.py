"""Whatever is asked is refused in one sentence, or is what a search takes."""

import json
from collections.abc import Callable
from typing import Any

import bson
import pytest
from bson.objectid import ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import QueryParams

from assets.work.searching.request import Request
from pipelines.serving.question import Question, from_body, from_parameters
from resources.core.errors import QueryRefused

OPERATORS = [
    "$and", "$or", "$not", "$in", "$gte", "$oid", "$date", "$numberLong", "$numberDecimal",
    "$binary", "$uuid", "$regularExpression", "$timestamp", "$code", "$scope", "$dbPointer",
    "$symbol", "$minKey", "$undefined", "$ref", "$id", "$type", "base64", "subType", "t", "i",
    "pattern", "options", "kind", "",
]  # fmt: skip

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(OPERATORS), inner, max_size=3)
    ),
    max_leaves=10,
)


def outcome(question: Callable[[], Question]) -> tuple[dict[str, Any], str]:
    """A search's options, or why they are refused."""
    try:
        asked = question()
        options = asked.options()
    except QueryRefused as refused:
        return {}, str(refused) or "no reason is given\n"
    assert 1 <= len(asked.asked) <= 32
    return options, ""


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(OPERATORS), values, max_size=3))
def test_any_filter_is_a_document_that_can_be_sent_or_is_refused(clause: dict):
    body = json.dumps({"pipeline": "a", "query": "b", "filter": clause}).encode()
    options, refused = outcome(lambda: from_body(body))
    assert "\n" not in refused
    if not refused:
        assert isinstance(options["filter"], dict)
        bson.encode(options["filter"])


@settings(max_examples=500)
@given(
    st.dictionaries(
        st.sampled_from([*Question.model_fields, "more"]), values | st.just("a"), max_size=6
    )
)
def test_any_body_is_a_question_or_is_refused(body: dict):
    asked = {"pipeline": "a", "query": "b"} | body
    options, refused = outcome(lambda: from_body(json.dumps(asked).encode()))
    assert "\n" not in refused
    assert set(options) <= set(asked) - {"pipeline", "query", "queries", "max_text"}


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(body: bytes):
    with pytest.raises(QueryRefused):
        from_body(body)


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*Question.model_fields, "more"]),
            st.text(max_size=8) | st.sampled_from(["1", "true", '{"kind": 1}', "hybrid", "0.5"]),
        ),
        max_size=8,
    )
)
def test_any_parameters_are_a_question_or_are_refused(parameters: list[tuple[str, str]]):
    options, refused = outcome(lambda: from_parameters(QueryParams(parameters)))
    assert "\n" not in refused
    assert set(options) <= {name for name, _ in parameters}


def test_extended_json_is_what_it_stands_for():
    clause = {"kind": {"$in": [{"$oid": "5" * 24}, {"$date": "2026-01-02T03:04:05Z"}]}}
    body = json.dumps({"pipeline": "a", "query": "b", "filter": clause}).encode()
    identity, date = from_body(body).options()["filter"]["kind"]["$in"]
    assert identity == ObjectId("5" * 24)
    assert f"{date:%Y-%m-%d %H:%M:%S}" == "2026-01-02 03:04:05"


def test_only_what_was_given_is_passed_on_and_defaults_are_the_searchs_own():
    asked = from_body(b'{"pipeline": "a", "query": "b"}')
    assert asked.options() == {}
    defaults = Request()
    for name in set(Question.model_fields) - {"pipeline", "query", "queries", "max_text"}:
        assert getattr(asked, name) == getattr(defaults, name), name
    whole = from_body(
        b'{"pipeline": "a", "query": "b", "limit": 3, "weights": [2, 1], "mode": "hybrid"}'
    )
    assert Request.of(whole.options()).weights == (2.0, 1.0)
