"""The quarantine on every kind of server."""

from dataclasses import replace
from datetime import timedelta

import pytest

from resources.core.chunks import Chunk
from resources.core.moment import now
from resources.registry import quarantine
from resources.registry.quarantine import FIRST_PAUSE, LONGEST_PAUSE, Quarantine
from resources.sources.records import RejectedRecord

SPOILT = RejectedRecord(None, "films.jsonl:7", "is not JSON", "{")
REFUSED = RejectedRecord(3, "openai model m", "The input was rejected", "bad", "hash-3")


@pytest.fixture
def entries(database) -> Quarantine:
    made = Quarantine(database["embedding_quarantine"])
    made.add("films", "run-1", [SPOILT])
    made.add("films", "run-1", [REFUSED], space="scope")
    made.add("books", "run-2", [REFUSED], space="scope")
    return made


def test_the_same_record_again_counts_up(entries):
    entries.add("films", "run-2", [SPOILT])
    first, second = entries.entries("films")
    assert (first.where, first.count, second.count) == ("films.jsonl:7", 2, 1)
    assert first.first_seen <= first.last_seen
    assert entries.count("films") == 2


def test_a_retried_text_may_be_asked_for_again_and_stays_in_the_list(entries):
    assert entries.refused_texts("scope", ["hash-3", "hash-4"]) == {"hash-3"}
    assert entries.retry("films", list(entries.find("films", "3"))) == 1
    assert entries.retry("books") == 1
    assert entries.refused_texts("scope", ["hash-3"]) == set()
    assert entries.count("films") == 2


@pytest.mark.parametrize("act", ["retry", "drop"])
def test_a_text_is_asked_for_again_whichever_of_its_chunks_is_named(entries, act):
    twin = Chunk(4, 4, "bad", "hash-3", {}, "")
    entries.hold("films", "run-1", [twin], "scope")
    assert getattr(entries, act)("films", list(entries.find("films", "4"))) == 1
    assert entries.refused_texts("scope", ["hash-3"]) == set()
    # Refused again for one of them, all of them are.
    entries.add("films", "run-2", [REFUSED], space="scope")
    entries.hold("films", "run-2", [twin])
    assert entries.refused_texts("scope", ["hash-3"]) == {"hash-3"}
    assert [entry.id for entry in entries.entries("films")] == [None, 3, 4]


def test_entries_are_dropped_by_id_or_place_and_only_of_the_pipeline(entries):
    assert entries.drop("films", list(entries.find("films", "nothing of the kind"))) == 0
    assert entries.drop("films", list(entries.find("films", "films.jsonl:7"))) == 1
    assert [entry.id for entry in entries.entries("films")] == [3]
    assert entries.drop("films") == 1
    assert entries.count("books") == 1


def test_a_complete_scan_releases_what_it_did_not_meet(entries):
    refused = Chunk(3, 3, "bad", "hash-3", {}, "")
    assert entries.hold("films", "run-9", [refused], "scope") == {"hash-3"}
    assert entries.release_healed("films", "run-9") == 1
    assert [entry.id for entry in entries.entries("films")] == [3]


def test_every_chunk_of_a_refused_text_has_an_entry_of_its_own(entries):
    twins = [Chunk(n, n, "bad", "hash-3", {}, "") for n in ("3", 4)]
    assert entries.hold("films", "run-9", twins) == {"hash-3"}
    assert [entry.id for entry in entries.entries("films")] == [None, 3, "3", 4]
    assert entries.hold("news", "run-9", twins) == set(), "this pipeline has met no refusal"
    assert entries.hold("news", "run-9", twins, "scope") == {"hash-3"}
    assert {entry.reason for entry in entries.entries("news")} == {"The input was rejected"}
    assert entries.release_healed("films", "run-9") == 2


def test_what_mongodb_refused_stays_until_it_was_written_again(entries):
    entries.add("films", "run-1", [replace(REFUSED, id="s", text_hash="")], stage="store")
    assert entries.count("films", "store") == 1
    assert entries.release_healed("films", "run-2") == 2
    assert entries.release_stored("films", "run-1") == 0
    assert entries.release_stored("films", "run-2") == 1


PASSING = replace(REFUSED, lasting=False)


@pytest.fixture
def clock(monkeypatch):
    """The time as the quarantine sees it; a test moves it on."""
    moment = [now()]
    monkeypatch.setattr(quarantine, "now", lambda: moment[0])

    def move(by: timedelta) -> None:
        moment[0] += by

    return move


def test_what_may_not_last_is_asked_for_again_after_growing_pauses(database, clock):
    entries = Quarantine(database["embedding_quarantine"])
    pauses = []
    for attempt in range(12):
        entries.add("films", f"run-{attempt}", [PASSING], space="scope")
        pause, step = timedelta(), timedelta(minutes=5)
        while entries.refused_texts("scope", ["hash-3"]):
            clock(step)
            pause += step
        pauses.append(pause)
    assert pauses[0] == FIRST_PAUSE
    wanted = [min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) for attempt in range(12)]
    assert pauses == wanted
    assert entries.count("films") == 1


def test_what_lasts_is_never_asked_for_again(entries, clock):
    clock(timedelta(days=10_000))
    assert entries.refused_texts("scope", ["hash-3"]) == {"hash-3"}


def test_a_refusal_that_comes_to_last_lasts_for_every_chunk_of_the_text(database, clock):
    entries = Quarantine(database["embedding_quarantine"])
    twins = [Chunk(n, n, "bad", "hash-3", {}, "") for n in (3, 4)]
    entries.add("films", "run-1", [replace(REFUSED, lasting=False)], space="scope")
    assert entries.hold("films", "run-1", twins) == set()
    clock(LONGEST_PAUSE)
    entries.add("films", "run-2", [REFUSED], space="scope")
    assert entries.hold("films", "run-2", twins) == {"hash-3"}
    assert database["embedding_quarantine"].count_documents({"again_at": {"$exists": True}}) == 0


def test_a_refusal_that_comes_to_last_lasts_and_another_text_begins_anew(database, clock):
    entries = Quarantine(database["embedding_quarantine"])
    for _ in range(3):
        entries.add("films", "run", [PASSING], space="scope")
    entries.add("films", "run", [replace(PASSING, text_hash="other")], space="scope")
    clock(FIRST_PAUSE)
    assert entries.refused_texts("scope", ["other"]) == set()
    entries.add("films", "run", [replace(REFUSED, text_hash="other")], space="scope")
    clock(LONGEST_PAUSE * 2)
    assert entries.refused_texts("scope", ["other"]) == {"other"}


def test_a_text_that_has_its_vector_leaves_at_once_and_only_it(entries):
    other = replace(PASSING, id=4, text_hash="hash-4")
    entries.add("films", "run-1", [other], space="scope")
    assert entries.heal("films", "scope", []) == 0
    assert entries.heal("films", "another scope", ["hash-4"]) == 0
    assert entries.heal("films", "scope", ["hash-4", "hash-5"]) == 1
    assert {entry.id for entry in entries.entries("films")} == {None, 3}
    assert entries.retry("films", list(entries.find("films", "3"))) == 1
    assert entries.heal("films", "scope", ["hash-3"]) == 1
    assert entries.count("books") == 1
