"""Waiting alone: a listing and a clock that are written down beforehand."""

from typing import Any

import pytest

from resources.core.errors import SearchIndexError
from resources.search_index.mongodb import waiting
from resources.search_index.mongodb.lifecycle import IndexState
from resources.search_index.mongodb.waiting import LINGERING, SETTLED, IndexWait


def state(
    status: str = "READY", indexed: int | None = None, *, version: int = 2, queryable: bool = False
) -> IndexState:
    return IndexState("films", "vectorSearch", status, queryable, {}, version, indexed, "")


class Listing:
    """What is listed at each look, the last for ever; a clock that only sleep moves."""

    def __init__(self, *states: IndexState | None) -> None:
        self.states, self.looks = list(states), 0
        self.now, self.slept = 1_000.0, []
        self.collection: Any = type("Collection", (), {"full_name": "db.films"})()
        self.lines: list[str] = []

    def find(self, collection: Any, name: str) -> IndexState | None:
        assert (collection, name) == (self.collection, "films")
        self.looks += 1
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds
        assert len(self.slept) < 1_000, "it waits for ever"


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch):
    def begin(*states: IndexState | None, documents: int = 10, timeout: float = 10.0) -> tuple:
        listing = Listing(*states)
        monkeypatch.setattr(waiting, "find_index", listing.find)
        monkeypatch.setattr(waiting, "time", listing)
        begun = IndexWait(
            listing.collection,
            "films",
            documents=documents,
            poll_seconds=2.0,
            timeout_seconds=timeout,
            log=listing.lines.append,
        )
        return begun, listing

    return begin


def arrived(found: IndexState) -> bool:
    return found.version == 2


def test_an_index_is_waited_for_until_it_is_gone(wait):
    begun, listing = wait(state("DELETING"), state("DELETING"), None)
    begun.until_gone()
    assert (listing.looks, listing.slept) == (3, [2.0, 2.0])
    begun, listing = wait(state("DELETING"), state("BUILDING"))
    begun.until_gone()
    assert listing.looks == 2, "somebody created it anew"


def test_an_index_that_does_not_go_is_an_error_when_the_time_is_over(wait):
    begun, listing = wait(state("DELETING"), timeout=5.0)
    with pytest.raises(SearchIndexError, match=r"index films of db.films is DELETING after 5.0 s"):
        begun.until_gone()
    assert listing.slept == [2.0, 2.0, 1.0], "no longer than the time that is left"


def test_a_definition_serves_once_it_has_arrived_and_is_ready(wait):
    first = state("READY", version=1)
    begun, listing = wait(None, state("DELETING"), timeout=9)
    with pytest.raises(SearchIndexError, match=r"was dropped while it was being built"):
        begun.until_serving(arrived)
    assert listing.looks == 3, "one that is being deleted at first may be that of before"
    begun, listing = wait(None, first, state("BUILDING"), state("READY"))
    assert begun.until_serving(arrived) == state("READY")
    assert listing.looks == 4
    for gone in (None, state("DELETING")):
        begun, listing = wait(None, first, gone)
        with pytest.raises(SearchIndexError, match=r"index films of db.films was dropped while it"):
            begun.until_serving(arrived)
        assert listing.looks == 3


def test_a_failure_counts_unless_it_may_be_that_of_before(wait):
    failed = state("FAILED")
    begun, listing = wait(state("FAILED", version=1), failed)
    with pytest.raises(SearchIndexError, match=r"has FAILED: the server gives no reason. Correct"):
        begun.until_serving(arrived)
    assert listing.looks == 2
    begun, listing = wait(*[failed] * LINGERING, state("READY"), timeout=100)
    assert begun.until_serving(arrived, was_failed=True).status == "READY"
    begun, listing = wait(failed, timeout=100)
    with pytest.raises(SearchIndexError, match=r"has FAILED"):
        begun.until_serving(arrived, was_failed=True)
    assert listing.looks == LINGERING + 1
    begun, listing = wait(state("FAILED", queryable=True))
    with pytest.raises(
        SearchIndexError, match=r"; its earlier definition still serves searches. C"
    ):
        begun.until_serving(arrived)


def test_a_stale_index_is_taken_with_a_warning_when_the_time_is_over(wait):
    begun, listing = wait(state("STALE", queryable=True), timeout=4.0)
    assert begun.until_serving(arrived).status == "STALE"
    assert listing.slept == [2.0, 2.0]
    assert listing.lines[-1].startswith("warning: index films is still STALE")
    begun, listing = wait(state("STALE", version=1, queryable=True), timeout=4.0)
    with pytest.raises(
        SearchIndexError, match=r"after 4.0 s; meanwhile the index serves searches as it"
    ):
        begun.until_serving(arrived)


def test_what_is_never_listed_is_an_error_that_says_so(wait):
    begun, listing = wait(None, timeout=4.0)
    message = "is not listed yet after 4.0 s; searches find nothing until then. Run again"
    with pytest.raises(SearchIndexError, match=message):
        begun.until_serving(arrived)
    assert (listing.looks, listing.lines) == (3, [])


@pytest.mark.parametrize(
    ("counts", "looks", "last"),
    [
        ([10], 0, 10),
        ([11], 0, 11),
        ([None], 0, None),
        ([0, 4, 10], 2, 10),
        ([9] * (SETTLED + 3), SETTLED, 9),
        ([1, 1, 1, 2, 2, 2, 2], 6, 2),
        ([1, None], 1, None),
    ],
)
def test_documents_are_waited_for_while_more_of_them_arrive(wait, counts, looks, last):
    begun, listing = wait(*[state(indexed=count) for count in counts[1:]] or [None], timeout=100)
    assert begun.until_caught_up(state(indexed=counts[0])).indexed == last
    assert (listing.looks, listing.slept) == (looks, [2.0] * looks)


def test_documents_are_waited_for_no_longer_than_the_index_is_there_or_the_time_allows(wait):
    begun, listing = wait(state(indexed=5), None)
    assert begun.until_caught_up(state(indexed=4)).indexed == 5
    begun, listing = wait(*[state(indexed=number) for number in range(1, 10)], timeout=5.0)
    assert begun.until_caught_up(state(indexed=0)).indexed == 3
    assert listing.slept == [2.0, 2.0, 1.0]


def test_lines_say_how_far_it_is_when_something_is_new_and_every_so_often(wait):
    counts = [state("BUILDING", indexed=number) for number in range(0, 1_000, 10)]
    begun, listing = wait(None, *counts, state(indexed=990), documents=1_000, timeout=1_000)
    begun.until_serving(arrived)
    assert listing.lines[0] == "index films: BUILDING, 0 of 1,000 documents indexed, 2.0 s"
    assert listing.lines[1] == (
        "index films: BUILDING, 30 of 1,000 documents indexed, 8.0 s, about 3 min 14 s left"
    )
    assert listing.lines[-1].startswith("index films: READY, 990 of 1,000 documents indexed, 3 min")
    assert len(listing.lines) == 35


@pytest.mark.parametrize(
    ("there", "lines"),
    [
        (state(indexed=10), []),
        (state(indexed=11), []),
        (state(indexed=9), ["index films: READY, 9 of 10 documents indexed, 0.0 s"]),
        (state(), ["index films: READY, 0.0 s"]),
    ],
)
def test_of_what_need_not_be_waited_for_nothing_is_said(wait, there, lines):
    begun, listing = wait(there)
    begun.until_serving(arrived)
    assert listing.lines == lines
