"""Rows of generated replies: the good ones are kept in their places, whatever is beside them."""

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.core.errors import ProviderError
from resources.core.space import EmbeddingSpace
from resources.embedders.base import check_reply
from resources.embedders.failures import RequestFailed
from resources.embedders.replies import Reply, checked, read_rows

WIDTH = 8
SPACE = EmbeddingSpace("openai", "m", "", WIDTH, "", True)
BAD = [
    None,
    [],
    "",
    "no base64",
    "AAAA",
    [None] * WIDTH,
    [float("nan")] * WIDTH,
    [1.0, float("nan")] + [0.0] * (WIDTH - 2),
    [1.0, float("inf")] + [0.0] * (WIDTH - 2),
    [1e39] * WIDTH,
    ["a"] * WIDTH,
    [[1.0]] * WIDTH,
    [1.0] * WIDTH,
    [0.5] * (WIDTH - 1),
    [0.5] * (WIDTH + 1),
    {"values": [1.0]},
    3,
    True,
]


def vector(number: int) -> np.ndarray:
    row = np.zeros(WIDTH, "<f4")
    row[number % WIDTH] = 1 if number < WIDTH else -1
    return row


def encoded(row: np.ndarray, as_text: bool) -> Any:
    return base64.b64encode(row.tobytes()).decode() if as_text else row.tolist()


def reply(rows: list[Any], order: list[Any]) -> Reply:
    data = [{"embedding": row, "index": at} for row, at in zip(rows, order, strict=True)]
    vectors, positions = read_rows(data)
    return Reply(vectors, 1, positions, {})


@given(
    bad=st.dictionaries(st.integers(0, 15), st.sampled_from(BAD), max_size=15),
    as_text=st.booleans(),
    order=st.permutations(range(16)),
    first=st.sampled_from([0, 1]),
)
def test_bad_rows_cost_no_others_in_any_order(bad, as_text, order, first):
    rows = [bad.get(at, encoded(vector(at), as_text)) for at in order]
    found = checked(reply(rows, [at + first for at in order]), 16, SPACE)
    assert found.faults.keys() == bad.keys()
    for at in range(16):
        wanted = np.zeros(WIDTH) if at in bad else vector(at)
        assert np.array_equal(found.vectors[at], wanted)


@given(st.lists(st.one_of(st.none(), st.integers(-2, 20), st.text(max_size=2)), min_size=2))
def test_rows_are_never_given_to_the_wrong_text(order: list[Any]):
    """Each index names its row's text, or the reply is as good as none."""
    rows = [vector(at % 16).tolist() for at in range(len(order))]
    numbers = [int(at) if isinstance(at, str) and at.isdecimal() else at for at in order]
    try:
        found = checked(reply(rows, order), len(order), SPACE)
    except RequestFailed:
        return
    first = min(numbers) if all(isinstance(at, int) for at in numbers) else 0
    for row, at in enumerate(numbers):
        position = at - first if isinstance(at, int) else row
        assert np.array_equal(found.vectors[position], rows[row])


@pytest.mark.parametrize("count", [0, 3, 5])
def test_rows_that_are_not_as_many_as_texts_are_none(count: int):
    rows = [vector(at).tolist() for at in range(count)]
    with pytest.raises(RequestFailed, match=f"returned {count} vectors for 4 texts"):
        checked(reply(rows, list(range(count))), 4, SPACE)


@given(st.sampled_from([[0.5] * 4, [0.25] * WIDTH, [1.0] * 12]), st.integers(1, 5))
def test_rows_that_are_all_wrong_by_a_setting_are_told_apart(row: list[float], count: int):
    with pytest.raises(RequestFailed, match="is stored") as caught:
        checked(reply([row] * count, list(range(count))), count, SPACE)
    assert caught.value.kind == "misfit"
    assert caught.value.said.startswith("it returned a vector of ")


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_none_spoils_its_vector_and_no_other(number: float, normalized: bool):
    space = replace(SPACE, normalized=normalized)
    rows = np.stack([vector(0), vector(1)])
    rows[1, 3] = number
    found = checked(reply(rows.tolist(), [0, 1]), 2, space)
    assert {row: str(fault) for row, fault in found.faults.items()} == {
        1: "it returned NaN or infinite values"
    }
    with pytest.raises(ProviderError, match="NaN or infinite values for text 1 of 2"):
        check_reply(rows, 2, space)
