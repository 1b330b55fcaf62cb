"""The quarantine on every kind of server."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest

from resources.core.chunks import Chunk
from resources.core.keys import key
from resources.core.lane import Lane
from resources.core.moment import now
from resources.registry import quarantine
from resources.registry.quarantine import FIRST_PAUSE, LONGEST_PAUSE, Quarantine
from resources.sources.records import RejectedRecord

FILMS, BOOKS, NEWS = (Lane(name, "space-a") for name in ("films", "books", "news"))
SPOILT = RejectedRecord(None, "films.jsonl:7", "is not JSON", "{")
REFUSED = RejectedRecord(3, "openai model m", "The input was rejected", "bad", "hash-3")


@pytest.fixture
def entries(database) -> Quarantine:
    made = Quarantine(database["embedding_quarantine"])
    made.add(FILMS, "run-1", [SPOILT])
    made.add(FILMS, "run-1", [REFUSED], scope="scope", stage="provider")
    made.add(BOOKS, "run-2", [REFUSED], scope="scope", stage="provider")
    return made


def test_the_same_record_again_counts_up(entries):
    entries.add(FILMS, "run-2", [SPOILT])
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
    entries.hold(FILMS, "run-1", [twin], "scope")
    assert getattr(entries, act)("films", list(entries.find("films", "4"))) == 1
    assert entries.refused_texts("scope", ["hash-3"]) == set()
    # Refused again for one of them, all of them are.
    entries.add(FILMS, "run-2", [REFUSED], scope="scope", stage="provider")
    entries.hold(FILMS, "run-2", [twin])
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
    assert entries.hold(FILMS, "run-9", [refused], "scope") == {"hash-3"}
    assert entries.release_healed(FILMS, "run-9") == 1
    assert [entry.id for entry in entries.entries("films")] == [3]


def test_every_chunk_of_a_refused_text_has_an_entry_of_its_own(entries):
    twins = [Chunk(n, n, "bad", "hash-3", {}, "") for n in ("3", 4)]
    assert entries.hold(FILMS, "run-9", twins) == {"hash-3"}
    assert [entry.id for entry in entries.entries("films")] == [None, 3, "3", 4]
    assert entries.hold(NEWS, "run-9", twins) == set(), "this pipeline has met no refusal"
    assert entries.hold(NEWS, "run-9", twins, "scope") == {"hash-3"}
    assert {entry.reason for entry in entries.entries("news")} == {"The input was rejected"}
    assert entries.release_healed(FILMS, "run-9") == 2


def test_what_mongodb_refused_stays_until_it_was_written_again(entries):
    entries.add(FILMS, "run-1", [replace(REFUSED, id="s", text_hash="")], stage="store")
    assert entries.count("films", "store") == 1
    assert entries.release_healed(FILMS, "run-2") == 2
    assert entries.release_stored(FILMS, "run-1") == 0
    assert entries.release_stored(FILMS, "run-2") == 1


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
        entries.add(FILMS, f"run-{attempt}", [PASSING], scope="scope", stage="provider")
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
    entries.add(FILMS, "run-1", [replace(REFUSED, lasting=False)], scope="scope", stage="provider")
    assert entries.hold(FILMS, "run-1", twins) == set()
    clock(LONGEST_PAUSE)
    entries.add(FILMS, "run-2", [REFUSED], scope="scope", stage="provider")
    assert entries.hold(FILMS, "run-2", twins) == {"hash-3"}
    assert database["embedding_quarantine"].count_documents({"again_at": {"$exists": True}}) == 0


def test_a_refusal_that_comes_to_last_lasts_and_another_text_begins_anew(database, clock):
    entries = Quarantine(database["embedding_quarantine"])
    for _ in range(3):
        entries.add(FILMS, "run", [PASSING], scope="scope", stage="provider")
    entries.add(
        FILMS, "run", [replace(PASSING, text_hash="other")], scope="scope", stage="provider"
    )
    clock(FIRST_PAUSE)
    assert entries.refused_texts("scope", ["other"]) == set()
    entries.add(
        FILMS, "run", [replace(REFUSED, text_hash="other")], scope="scope", stage="provider"
    )
    clock(LONGEST_PAUSE * 2)
    assert entries.refused_texts("scope", ["other"]) == {"other"}


def test_a_text_that_has_its_vector_leaves_at_once_and_only_it(entries):
    other = replace(PASSING, id=4, text_hash="hash-4")
    entries.add(FILMS, "run-1", [other], scope="scope", stage="provider")
    assert entries.heal(FILMS, "scope", []) == 0
    assert entries.heal(FILMS, "another scope", ["hash-4"]) == 0
    assert entries.heal(FILMS, "scope", ["hash-4", "hash-5"]) == 1
    assert {entry.id for entry in entries.entries("films")} == {None, 3}
    assert entries.retry("films", list(entries.find("films", "3"))) == 1
    assert entries.heal(FILMS, "scope", ["hash-3"]) == 1
    assert entries.count("books") == 1


OTHER = Lane("films", "space-b")
IN_A, IN_B = "space-a {}", "space-b {}"
"""Scopes of refusals, as providers name them."""


class TestTwoSpacesOfOnePipeline:
    @pytest.fixture
    def both(self, database) -> Quarantine:
        made = Quarantine(database["embedding_quarantine"])
        for lane, scope in ((FILMS, IN_A), (OTHER, IN_B)):
            made.add(lane, "run-1", [SPOILT])
            made.add(lane, "run-1", [REFUSED], scope=scope, stage="provider")
            made.add(lane, "run-1", [replace(REFUSED, id="s", text_hash="")], stage="store")
        return made

    def test_entries_stand_side_by_side(self, both):
        assert (both.count("films"), both.count(FILMS), both.count(OTHER)) == (6, 3, 3)
        assert [entry.count for entry in both.entries("films")] == [1] * 6
        assert both.count(OTHER, "store", "provider") == 2

    def test_what_one_does_not_meet_again_the_other_keeps(self, both):
        assert both.release_healed(FILMS, "run-2", IN_A) == 2
        assert both.release_stored(FILMS, "run-2") == 1
        assert (both.count(FILMS), both.count(OTHER)) == (0, 3)
        assert both.refused_texts(IN_B, ["hash-3"]) == {"hash-3"}

    def test_a_vector_in_one_heals_nothing_of_the_other(self, both):
        assert both.retry("films") == 6, "the scope is forgotten where a retry was asked for"
        assert both.heal(FILMS, IN_A, ["hash-3"]) == 1
        assert (both.count(FILMS), both.count(OTHER)) == (2, 3)

    def test_what_one_holds_the_other_has_not_met(self, both):
        twin = Chunk(4, 4, "bad", "hash-4", {}, "")
        both.add(
            FILMS,
            "run-1",
            [replace(REFUSED, id=5, text_hash="hash-4")],
            scope=IN_A,
            stage="provider",
        )
        assert both.hold(OTHER, "run-1", [twin]) == set()
        assert both.hold(FILMS, "run-1", [twin]) == {"hash-4"}
        assert (both.count(FILMS), both.count(OTHER)) == (5, 3)

    def test_commands_mean_the_entries_of_all(self, both):
        found = both.find("films", "3")
        assert list(found.values()) == [3, 3]
        assert both.retry("films", list(found)) == 2
        assert both.refused_texts(IN_A, ["hash-3"]) == both.refused_texts(IN_B, ["hash-3"]) == set()
        assert both.drop("films", list(found)) == 2
        assert both.drop("films", list(both.find("films", "films.jsonl:7"))) == 2
        assert both.count("films") == 2


class TestEntriesFromBeforeThereWereLanes:
    """As the version before wrote them: without a lane, and named by pipeline and id alone."""

    @pytest.fixture
    def earlier(self, database) -> Quarantine:
        rows = [
            ("films.jsonl:7", None, "films.jsonl:7", "is not JSON", "", "", "source"),
            ("3", 3, "openai model m", "The input was rejected", "hash-3", IN_A, "provider"),
            ("s", "s", "db.vectors", "too large", "", "", "store"),
        ]
        for name, entry_id, where, reason, text, scope, stage in rows:
            known = name if entry_id is None else key(entry_id)
            database["embedding_quarantine"].insert_one(
                {
                    "_id": hashlib.sha256(f"films\0{known}".encode()).hexdigest()[:32],
                    "pipeline": "films", "id": entry_id, "where": where, "reason": reason,
                    "excerpt": "bad", "text_hash": text, "space": scope, "stage": stage,
                    "first_seen": now(), "last_seen": now(), "run": "run-0", "count": 5,
                }
            )  # fmt: skip
        return Quarantine(database["embedding_quarantine"])

    def test_they_are_read_and_counted(self, earlier):
        assert earlier.count("films") == earlier.count(FILMS) == 3
        assert [entry.id for entry in earlier.entries(FILMS)] == [None, 3, "s"]
        assert earlier.refused_texts(IN_A, ["hash-3"]) == {"hash-3"}
        assert earlier.hold(FILMS, "run-1", [Chunk(3, 3, "bad", "hash-3", {}, "")]) == {"hash-3"}
        assert earlier.count("films") == 3

    def test_met_again_they_count_up_and_are_the_lanes(self, earlier):
        earlier.add(FILMS, "run-1", [SPOILT])
        earlier.add(FILMS, "run-1", [REFUSED], scope=IN_A, stage="provider")
        assert [entry.count for entry in earlier.entries("films")] == [6, 6, 5]
        earlier.add(OTHER, "run-1", [SPOILT])
        assert [entry.count for entry in earlier.entries(OTHER)] == [5, 1], "with that of MongoDB"
        assert earlier.release_healed(FILMS, "run-1", IN_A) == 0
        assert earlier.release_stored(FILMS, "run-1") == 1
        assert earlier.count(FILMS) == 2

    def test_not_met_again_they_go(self, earlier):
        assert earlier.release_healed(FILMS, "run-1", IN_A) == 2
        assert earlier.release_stored(FILMS, "run-1") == 1

    def test_the_refusals_of_another_space_stay(self, earlier):
        assert earlier.release_healed(OTHER, "run-1", IN_B) == 1
        assert earlier.heal(OTHER, IN_B, ["hash-3"]) == 0
        earlier.add(OTHER, "run-1", [REFUSED], scope=IN_B, stage="provider")
        assert earlier.count("films", "provider") == 2
        assert earlier.refused_texts(IN_A, ["hash-3"]) == {"hash-3"}

    def test_a_space_that_was_settled_is_known_by_what_its_provider_calls_it(self, earlier):
        settled = Lane("films", "space-a-without-its-server")
        assert earlier.release_healed(settled, "run-1", IN_A) == 2

    @pytest.mark.parametrize("act", ["retry", "drop"])
    def test_commands_find_them(self, earlier, act):
        for text, left in (("3", 2), ("films.jsonl:7", 1), ("s", 0)):
            assert getattr(earlier, act)("films", list(earlier.find("films", text))) == 1
            assert earlier.count("films") == (left if act == "drop" else 3)
        assert earlier.refused_texts(IN_A, ["hash-3"]) == set()

    def test_a_retried_one_heals(self, earlier):
        earlier.retry("films", list(earlier.find("films", "3")))
        assert earlier.heal(FILMS, IN_A, ["hash-3"]) == 1
