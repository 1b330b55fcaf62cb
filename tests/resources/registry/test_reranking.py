"""The bill of reranking: summed up by the day, behind the searches' backs, nothing twice."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from unittest import mock

import pymongo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from resources.core.paths import CODE_ROOT
from resources.registry import reranking
from resources.registry.registry import Registry
from resources.registry.reranking import RerankLedger, RerankMeter, RerankSpend
from resources.rerankers.facts import Facts

FACTS = Facts("voyage", "rerank-2.5", 0.05)
NAME = "reranking_spend"


@pytest.fixture
def ledger(database) -> RerankLedger:
    return Registry(database.client, database.name).reranked


def totals(rows: list[RerankSpend]) -> tuple[int, int, int, int, int]:
    (row,) = rows
    return row.requests, row.texts, row.tokens, row.unbilled, row.unbilled_tokens


REQUESTS = st.lists(
    st.tuples(st.integers(1, 50), st.none() | st.integers(1, 900), st.integers(1, 900)),
    min_size=1,
    max_size=12,
)


@given(REQUESTS, st.lists(st.sampled_from(["flush", "killed"]), max_size=4))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sums_are_a_lower_bound_and_right_once_it_is_closed(database, requests, ends):
    database.drop_collection(NAME)
    ledger = RerankLedger(database[NAME])
    billed, kept = 0, 0
    for end in [*ends, "closed"]:
        meter = ledger.meter("films", FACTS)
        for texts, tokens, estimate in requests:
            meter.add(texts=texts, tokens=tokens, estimate=estimate)
        spent = sum(tokens or 0 for _, tokens, _ in requests)
        billed += spent
        if end == "killed":
            _kill(meter)
        else:
            meter.flush() if end == "flush" else meter.close()
            kept += spent
    (row,) = ledger.spend("films")
    assert row.tokens == kept <= billed
    assert row.cost_usd == pytest.approx(kept * 0.05 / 1e6)
    ended = sum(end != "killed" for end in ends) + 1
    assert row.requests == ended * len(requests)
    assert row.texts == ended * sum(texts for texts, _, _ in requests)
    unknown = [estimate for _, tokens, estimate in requests if tokens is None]
    assert (row.unbilled, row.unbilled_tokens) == (ended * len(unknown), ended * sum(unknown))
    assert row.unbilled_usd == pytest.approx(ended * sum(unknown) * 0.05 / 1e6)


def _kill(meter: RerankMeter) -> None:
    """What is left of a process that was killed: nothing that could write."""
    assert meter._timer is not None
    meter._timer.cancel()
    reranking.atexit.unregister(meter.close)


def test_counting_asks_no_server_and_a_few_seconds_later_it_is_written(database, monkeypatch):
    monkeypatch.setattr(reranking, "FLUSH_SECONDS", 0.2)
    ledger = RerankLedger(database[NAME])
    meter = ledger.meter("films", FACTS)
    with mock.patch.object(Collection, "update_one", side_effect=AssertionError("it waits")):
        for _ in range(100):
            meter.add(texts=50, tokens=10, estimate=12)
    until = time.monotonic() + 20
    while not ledger.spend() and time.monotonic() < until:
        time.sleep(0.02)
    assert totals(ledger.spend()) == (100, 5000, 1000, 0, 0)
    meter.add(texts=1, tokens=1, estimate=1)
    meter.close()
    meter.close()
    assert totals(ledger.spend()) == (101, 5001, 1001, 0, 0)


def test_threads_and_processes_add_up(database):
    ledger = RerankLedger(database[NAME])
    meters = [ledger.meter("films", FACTS) for _ in range(8)]

    def work(meter: RerankMeter) -> None:
        for _ in range(5):
            meter.add(texts=2, tokens=3, estimate=4)
            meter.flush()
        meter.close()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, meters))
    assert totals(ledger.spend()) == (40, 80, 120, 0, 0)
    assert database[NAME].count_documents({}) == 1


def test_a_write_whose_answer_was_lost_is_not_counted_twice(database):
    ledger, warned = RerankLedger(database[NAME]), []
    meter = ledger.meter("films", FACTS, warned.append)
    meter.add(texts=2, tokens=30, estimate=4)
    real = Collection.update_one

    def lost(self, *arguments, **options):
        real(self, *arguments, **options)
        raise AutoReconnect("connection closed")

    with mock.patch.object(Collection, "update_one", lost):
        meter.flush()
    assert totals(ledger.spend()) == (1, 2, 30, 0, 0)
    meter.add(texts=1, tokens=5, estimate=4)
    meter.close()
    assert totals(ledger.spend()) == (2, 3, 35, 0, 0)
    assert len(warned) == 1


def test_a_server_that_is_away_is_said_once_and_what_was_counted_is_kept(database):
    ledger, warned = RerankLedger(database[NAME]), []
    meter = ledger.meter("films", FACTS, warned.append)
    with mock.patch.object(Collection, "update_one", side_effect=AutoReconnect("away")):
        for _ in range(3):
            meter.add(texts=2, tokens=30, estimate=4)
            meter.flush()
    assert ledger.spend() == []
    (sentence,) = warned
    assert sentence.startswith("what reranking with rerank-2.5 takes cannot be written down in ")
    assert sentence.endswith("or `embeddings spend` will not show it")
    meter.close()
    assert totals(ledger.spend()) == (3, 6, 90, 0, 0)


def test_closing_waits_for_no_server_that_is_gone(monkeypatch):
    monkeypatch.setattr(reranking, "_CLOSE_SECONDS", 0.3)
    with pymongo.MongoClient("mongodb://127.0.0.1:9/?directConnection=true") as client:
        meter = RerankLedger(client["gone"][NAME]).meter("films", FACTS)
        meter.add(texts=1, tokens=1, estimate=1)
        start = time.monotonic()
        meter.close()
        assert time.monotonic() - start < 10


def test_days_pipelines_and_models_are_told_apart(ledger):
    for pipeline, model, day in (
        ("films", "rerank-2.5", "2026-11-02"),
        ("books", "rerank-2.5", "2026-11-03"),
        ("films", "rerank-2.5-lite", "2026-11-03"),
    ):
        moment = datetime.fromisoformat(day)
        with mock.patch.object(reranking, "now", lambda moment=moment: moment):
            meter = ledger.meter(pipeline, Facts("voyage", model, None))
            meter.add(texts=1, tokens=7, estimate=9)
            meter.close()
    found = [(row.day, row.pipeline, row.model, row.cost_usd) for row in ledger.spend()]
    assert found == [
        ("2026-11-03", "books", "rerank-2.5", 0),
        ("2026-11-03", "films", "rerank-2.5-lite", 0),
        ("2026-11-02", "films", "rerank-2.5", 0),
    ]
    assert [row.model for row in ledger.spend("films")] == ["rerank-2.5-lite", "rerank-2.5"]


def test_a_process_that_ends_without_closing_writes_it_down(mongod_uri):
    database = "test_rerank_exit"
    code = f"""
import pymongo
from resources.registry.reranking import RerankLedger
from resources.rerankers.facts import Facts
client = pymongo.MongoClient({mongod_uri!r})
meter = RerankLedger(client[{database!r}][{NAME!r}]).meter("films", Facts("voyage", "m", 1.0))
meter.add(texts=3, tokens=4, estimate=5)
"""
    with pymongo.MongoClient(mongod_uri) as client:
        client.drop_database(database)
        subprocess.run([sys.executable, "-c", code], check=True, cwd=CODE_ROOT)
        found = RerankLedger(client[database][NAME]).spend()
        client.drop_database(database)
    assert totals(found) == (1, 3, 4, 0, 0)
