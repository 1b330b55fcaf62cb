"""The ledger brackets the bill: closed <= billed <= closed + open, wherever a run dies."""

import secrets
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from resources.core.lane import Lane
from resources.core.moment import now
from resources.registry.ledger import Ledger, RunJournal

MODEL = "text-embedding-3-small"


def journal(ledger: Ledger, pipeline: str = "films", space: str = "space-a") -> RunJournal:
    lane = Lane(pipeline, space)
    return ledger.journal(lane, run="run-1", provider="openai", model=MODEL, usd_per_million=0.02)


def entry(batch: str, request_ids: list[str], tokens: int | None) -> dict[str, Any]:
    return {
        "_id": f"run-1/{batch}",
        "pipeline": "films",
        "provider": "openai",
        "model": MODEL,
        "space": "space-a",
        "run": "run-1",
        "batch": batch,
        "texts": 10,
        "tokens": tokens,
        "cost_usd": 0.5,
        "requests": len(request_ids),
        "retries": 0,
        "seconds": 2.0,
        "request_ids": request_ids,
        "at": now(),
    }


class Killed(Exception):
    pass


# What has become of a request, and whether the provider has billed it.
STATES = {
    "not sent": False,
    "sent": False,
    "lost": True,
    "answered": True,
    "in a batch": True,
    "in a batch, killed before it was removed": True,
}
REQUESTS = st.lists(st.tuples(st.sampled_from(sorted(STATES)), st.integers(1, 50)), max_size=12)


@given(requests=REQUESTS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_was_billed_lies_between_closed_and_open(database, requests):
    ledger = Ledger(database)
    for name in ("embedding_spend", "embedding_requests"):
        database.drop_collection(name)
    ledger.prepare()
    billed = 0
    for state, tokens in requests:
        name = secrets.token_hex(8)
        notes = journal(ledger)
        billed += tokens * STATES[state]
        notes.opened(name, texts=10, tokens=2 * tokens)
        if state in ("not sent", "sent", "lost"):
            continue
        notes.closed(name, tokens=tokens)
        if state == "answered":
            continue
        made = entry(name, [name], tokens)
        if state == "in a batch":
            ledger.record(made)
        else:
            with (
                mock.patch.object(Collection, "delete_many", side_effect=Killed),
                pytest.raises(Killed),
            ):
                ledger.record(made)
    rows = ledger.spend()
    closed = sum(row.tokens for row in rows)
    unanswered = [tokens for state, tokens in requests if state in ("not sent", "sent", "lost")]
    assert closed <= billed <= closed + sum(row.unanswered_tokens for row in rows)
    assert sum(row.unanswered for row in rows) == len(unanswered)
    assert sum(row.requests for row in rows) == len(requests) - len(unanswered)


def test_a_batch_noted_twice_counts_once(database):
    ledger = Ledger(database)
    journal(ledger).opened("r1", texts=10, tokens=99)
    journal(ledger).closed("r1", tokens=7)
    for _ in range(2):
        ledger.record(entry("a", ["r1"], 7))
        (row,) = ledger.spend("films")
        assert (row.texts, row.tokens, row.requests, row.unanswered) == (10, 7, 1, 0)
    assert database["embedding_requests"].count_documents({}) == 0
    assert ledger.unrecorded(["a", "b"]) == ["b"]


def test_a_second_making_of_a_batch_hides_no_request_of_its_own(database):
    ledger = Ledger(database)
    ledger.record(entry("a", ["r1"], 7))
    journal(ledger).opened("r2", texts=10, tokens=99)
    journal(ledger).closed("r2", tokens=8)
    ledger.record(entry("a", ["r2"], 8))
    (row,) = ledger.spend()
    assert row.tokens == 15


def test_entries_of_an_earlier_version_count(database):
    ledger = Ledger(database)
    old = entry("a", [], 7)
    database["embedding_spend"].insert_one(
        {name: value for name, value in old.items() if name not in ("_id", "request_ids")}
    )
    ledger.record(entry("b", [], None))
    (row,) = ledger.spend()
    assert (row.texts, row.tokens, row.cost_usd) == (20, 7, 1.0)
    assert ledger.texts_per_second("openai", MODEL) == 10.0
    assert ledger.unrecorded(["a"]) == []


def test_requests_of_no_batch_stand_beside_batches_by_day_pipeline_and_model(database):
    ledger = Ledger(database)
    ledger.record(entry("a", [], 7))
    for name, tokens in (("r1", 5), ("r2", None), ("r3", 0)):
        journal(ledger, "books").opened(name, texts=3, tokens=40)
        journal(ledger, "books").closed(name, tokens=tokens)
    books, films = ledger.spend()
    assert (books.pipeline, books.tokens, books.texts) == ("books", 5, 3)
    assert books.cost_usd == pytest.approx(5 * 0.02 / 1e6)
    assert (books.unanswered, books.unanswered_tokens) == (1, 40), "a bill not told"
    assert films.unanswered == 0
    assert ledger.spend("films") == [films]


def test_an_answer_is_not_lost_for_a_note_that_cannot_be_written(database):
    ledger = Ledger(database)
    journal(ledger).opened("r1", texts=3, tokens=40)
    with mock.patch.object(Collection, "update_one", side_effect=AutoReconnect):
        journal(ledger).closed("r1", tokens=5)
    (row,) = ledger.spend()
    assert (row.tokens, row.unanswered, row.unanswered_tokens) == (0, 1, 40)


def test_requests_and_batches_are_of_a_pipeline_and_a_space(database):
    ledger = Ledger(database)
    ledger.record(entry("a", [], 7))
    ledger.record({**entry("b", [], 11), "space": "space-b"})
    for space, tokens in (("space-a", 2), ("space-b", 3)):
        journal(ledger, space=space).opened(space, texts=1, tokens=9)
        journal(ledger, space=space).closed(space, tokens=tokens)
    both = ledger.spend("films")
    assert [row.tokens for row in both] == [23]
    one, other = (ledger.spend(Lane("films", name)) for name in ("space-a", "space-b"))
    assert ([row.tokens for row in one], [row.tokens for row in other]) == ([9], [14])


def test_what_was_embedded_lately_is_known_by_name(database):
    """Whatever an object store's listing has of it."""
    ledger = Ledger(database)
    ledger.record(entry("new", [], 5))
    ledger.record(entry("old", [], 5) | {"at": now() - timedelta(hours=2)})
    ledger.record(entry("of another space", [], 5) | {"space": "space-b"})
    assert ledger.lately("space-a") == ["new"]
