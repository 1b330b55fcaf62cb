"""The quarantine on every kind of server."""

import pytest

from resources.quarantine import Quarantine
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
    assert entries.retry("films", ["3"]) == 1
    assert entries.retry("books") == 1
    assert entries.refused_texts("scope", ["hash-3"]) == set()
    assert entries.count("films") == 2


def test_entries_are_dropped_by_id_or_place_and_only_of_the_pipeline(entries):
    assert entries.drop("films", ["nothing of the kind"]) == 0
    assert entries.drop("films", ["films.jsonl:7"]) == 1
    assert [entry.id for entry in entries.entries("films")] == [3]
    assert entries.drop("films") == 1
    assert entries.count("books") == 1


def test_a_complete_scan_releases_what_it_did_not_meet(entries):
    entries.hold("films", "run-9", "scope", ["hash-3"])
    assert entries.release_healed("films", "run-9") == 1
    assert [entry.id for entry in entries.entries("films")] == [3]
