"""Windows bounded by bytes, and what a value is taken to weigh."""

import sys
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.core.chunks import Chunk, size_of
from resources.core.footprint import footprint
from resources.core.windows import ahead, sized_windows


@given(st.lists(st.integers(0, 300)), st.integers(1, 20), st.integers(1, 500))
def test_no_window_is_larger_than_allowed_and_nothing_is_lost(sizes, most, max_bytes):
    items = list(enumerate(sizes))
    found = list(sized_windows(items, most, lambda item: item[1], max_bytes))
    assert [item for window in found for item in window] == items
    for window in found:
        assert 1 <= len(window) <= most
        assert len(window) == 1 or sum(size for _, size in window) <= max_bytes
    for window, after in pairwise(found):
        full = sum(size for _, size in window) + after[0][1] > max_bytes
        assert full or len(window) == most, "no window ends early"


def test_a_window_is_given_as_soon_as_it_is_full():
    def items():
        yield from [4, 4, 4]
        raise AssertionError("read further than needed")

    assert next(sized_windows(items(), 10, int, 8)) == [4, 4]


@pytest.mark.parametrize(
    ("value", "least"),
    [
        ("x" * 1_000, 1_000),
        ("й" * 1_000, 2_000),
        ("🙂" * 1_000, 4_000),
        (b"x" * 1_000, 1_000),
        (["x" * 1_000] * 3, 3_000),
        ({"a": {"b": ["x" * 1_000, {"c": b"y" * 1_000}]}}, 2_000),
        ([float(n) for n in range(1_000)], 1_000 * (8 + sys.getsizeof(1.0))),
    ],
)
def test_a_value_weighs_what_it_holds(value, least):
    assert least <= footprint(value) <= least + 1_500


def test_a_chunk_weighs_its_text_and_what_it_carries():
    small = size_of(Chunk.whole(1, "text", {}))
    assert small < 1_000
    carried = size_of(Chunk.whole(1, "text", {"payload": b"x" * 10_000}))
    assert 10_000 <= carried - small <= 10_500


def test_the_next_item_is_fetched_while_one_is_worked_on():
    fetched = []

    def items():
        for number in range(5):
            fetched.append(number)
            yield number

    found = []
    for item in ahead(items()):
        deadline = time.monotonic() + 60
        while len(fetched) < min(item + 2, 5) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert fetched == list(range(min(item + 2, 5)))
        found.append(item)
    assert found == list(range(5))
    assert list(ahead([])) == []
    assert list(ahead([None, None])) == [None, None]


def test_an_error_of_what_is_fetched_ahead_comes_in_its_turn():
    def items():
        yield 1
        raise ValueError("the second")

    found = []
    with pytest.raises(ValueError, match="the second"):
        found.extend(ahead(items()))
    assert found == [1]
