import itertools

import pytest

from resources.core.lane import Lane

FILMS = Lane("films", "space-a")


@pytest.mark.parametrize(
    ("one", "other", "excluded"),
    [
        (FILMS, FILMS, True),
        (FILMS, Lane("books", "space-a"), False),
        (FILMS, Lane("films", "space-b"), True),
        (FILMS, Lane("films", "space-a", 1), True),
        (Lane("films", "space-a", 0), Lane("films", "space-a", 1), False),
        (Lane("films", "space-a", 1), Lane("films", "space-a", 1), True),
        (Lane("films", "space-a", 0), Lane("films", "space-b", 1), True),
    ],
)
def test_who_may_not_work_at_once(one, other, excluded):
    assert one.excludes(other) is excluded
    assert other.excludes(one) is excluded


def test_lanes_are_told_apart():
    lanes = [Lane(p, s, n) for p, s, n in itertools.product("ab", "xy", (None, 0, 1))]
    assert len(set(lanes)) == len(lanes)
    assert [str(lane) for lane in lanes[:2]] == ["the pipeline a", "shard 0 of the pipeline a"]
