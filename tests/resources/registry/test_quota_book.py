"""The arithmetic of a shared quota: time is given, nothing is waited for."""

import heapq
from dataclasses import dataclass, field
from itertools import count

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from resources.embedders.quota import NOTHING, Amount, Change
from resources.registry.quota_book import MINUTE, Book, at_once


@dataclass
class Process:
    """One that always has something to send.

    Attributes:
        size: Tokens of its requests.
        late: Share of a reservation's life after which it sends.
        answered: Share of the longest transit after which its requests are answered.
        there: Share of that time after which they get there.
        wasted: Every so many-th reservation is given back unused.
        dies: After so many reservations, which it never uses nor gives back.
    """

    name: str
    size: int
    late: float
    answered: float
    there: float
    wasted: int
    dies: int | None
    changes: list[Change] = field(default_factory=list)
    made: int = 0


processes = st.builds(
    Process,
    name=st.uuids().map(str),
    size=st.integers(1, 900),
    late=st.floats(0, 1),
    answered=st.floats(0, 1),
    there=st.floats(0, 1),
    wasted=st.sampled_from([0, 0, 3, 7]),
    dies=st.one_of(st.none(), st.integers(1, 20)),
)


def simulate(all_of_them, limits, until: float) -> tuple[Book, list[tuple[float, Amount]]]:
    """What got to the provider, and when, by processes that ask for more as soon as they may."""
    book, there, order = Book(), [], count()
    line = [(0.0, next(order), process) for process in all_of_them]
    heapq.heapify(line)
    while line and line[0][0] < until:
        now, _, process = heapq.heappop(line)
        book.turn_to(now)
        agreed = book.agree(process.name, limits)
        for change in process.changes:
            book.change(change, change.last, agreed)
        process.changes, process.made = [], process.made + 1
        most = at_once(limits, MINUTE)
        fitting = [most.requests] if limits[0] is not None else []
        fitting += [most.tokens // process.size] if limits[1] is not None else []
        requests = max(1, min(fitting))
        asked = Amount(requests, requests * process.size)
        begin, slot = book.reserve(asked, agreed, MINUTE.life)
        assert begin >= now
        if process.dies is not None and process.made > process.dies:
            continue
        at = begin + process.late * MINUTE.life
        unused = process.wasted and process.made % process.wasted == 0
        used = NOTHING if unused else asked
        answered = at + process.answered * MINUTE.transit
        if not unused:
            there.append((at + process.there * (answered - at), used))
        process.changes = [Change((book.epoch, slot), asked, used, answered)]
        heapq.heappush(line, (at, next(order), process))
    return book, sorted(there)


def most_in_a_minute(there, which: int) -> int:
    most = held = oldest = 0
    for at, amount in there:
        held += amount[which]
        while there[oldest][0] <= at - MINUTE.window:
            held -= there[oldest][1][which]
            oldest += 1
        most = max(most, held)
    return most


# A counterexample is short enough as it comes: to shrink it would take minutes.
FEW = settings(max_examples=25, phases=[Phase.explicit, Phase.generate])


@FEW
@given(
    st.lists(processes, min_size=1, max_size=6),
    st.tuples(
        st.one_of(st.none(), st.integers(1, 500)), st.one_of(st.none(), st.integers(900, 60_000))
    ).filter(lambda limits: limits != (None, None)),
)
def test_no_minute_holds_more_than_the_quota(all_of_them, limits):
    _, there = simulate(all_of_them, limits, 150)
    for which, limit in enumerate(limits):
        if limit is not None:
            assert most_in_a_minute(there, which) <= limit


@FEW
@given(
    st.lists(processes, min_size=2, max_size=6),
    st.integers(200, 3_000),
    st.integers(0, 2),
)
def test_whatever_most_do_nine_tenths_are_used(all_of_them, requests, dead):
    """Some waste what they have reserved and some die; those that live make up for it."""
    for process in all_of_them:
        process.late, process.wasted = process.late / 8, process.wasted and 7
        process.answered /= 2
        process.dies = 5 if dead > 0 else None
        dead -= 1
    all_of_them[-1].dies, all_of_them[-1].wasted = None, 0
    _, there = simulate(all_of_them, (requests, None), 310)
    assert most_in_a_minute(there, 0) <= requests
    late = [at for at, amount in there if 130 <= at < 310 for _ in range(amount.requests)]
    assert len(late) >= 0.9 * requests * 3


def test_who_dies_costs_what_it_had_reserved_for_as_long_as_it_would_have_counted():
    book = Book()
    book.turn_to(0.0)
    limits = (60, None)
    begin, slot = book.reserve(Amount(2), limits, MINUTE.life)
    assert begin == 0.0
    book.turn_to(MINUTE.end(slot) + MINUTE.window - 0.01)
    assert sum(each.requests for each in book.slots.values()) == 2
    book.turn_to(MINUTE.end(slot) + MINUTE.window)
    assert not book.slots


def test_what_is_not_used_is_free_at_once():
    book = Book()
    book.turn_to(0.0)
    limits = (10, None)
    _, slot = book.reserve(Amount(10), limits, MINUTE.life)
    book.change(Change((0, slot), Amount(10), NOTHING, None), None, limits)
    assert book.reserve(Amount(1), limits, MINUTE.life)[0] == 0.0


def test_a_request_larger_than_the_quota_goes_when_nothing_else_counts():
    book = Book()
    book.turn_to(0.0)
    limits = (None, 100)
    _, slot = book.reserve(Amount(1, 50), limits, MINUTE.life)
    begin, _ = book.reserve(Amount(1, 400), limits, MINUTE.life)
    assert begin >= MINUTE.end(slot) + MINUTE.window


def test_a_clock_that_is_set_back_makes_nothing_older():
    book = Book()
    book.turn_to(1000.0)
    limits = (10, None)
    _, slot = book.reserve(Amount(10), limits, MINUTE.life)
    place = (book.epoch, slot)
    book.turn_to(400.0)  # the server that answers now has another clock
    assert book.reserve(Amount(1), limits, MINUTE.life)[0] >= 400.0 + MINUTE.window
    # Nobody knows any more which of the slots this was.
    assert book.change(Change(place, Amount(10), NOTHING, None), None, limits) == place
    assert sum(each.requests for each in book.slots.values()) == 11


def test_the_smallest_limits_hold_while_anybody_wants_them():
    book = Book()
    book.turn_to(0.0)
    assert book.agree("a", (100, None)) == (100, None)
    assert book.agree("b", (50, 7)) == (50, 7)
    assert book.agree("a", (100, None)) == (50, 7)
    book.turn_to(2 * MINUTE.window + 1)  # b is not heard of any more
    assert book.agree("a", (100, None)) == (100, None)
