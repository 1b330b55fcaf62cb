"""The digest of a stream: the same for the same things in any order, another for all else."""

from hypothesis import given
from hypothesis import strategies as st

from resources.core.contents import Contents

THINGS = st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=3).map(tuple), max_size=6)


def digest(things: list[tuple[str, ...]]) -> str:
    found = Contents()
    for thing in things:
        found.add(*thing)
    return found.digest()


@given(things=THINGS, data=st.data())
def test_the_order_does_not_count(things: list[tuple[str, ...]], data: st.DataObject):
    assert digest(data.draw(st.permutations(things))) == digest(things)


@given(one=THINGS, other=THINGS)
def test_everything_else_does(one: list[tuple[str, ...]], other: list[tuple[str, ...]]):
    assert (digest(one) == digest(other)) == (sorted(one) == sorted(other))


def test_where_a_part_ends_counts():
    assert digest([("ab", "c")]) != digest([("a", "bc")]) != digest([("abc",)])
    assert digest([("a",), ("a",)]) != digest([("a",)])
