"""Money through whole runs: known before, limited, written down after."""

import secrets
from collections.abc import Iterator
from itertools import count

import pytest
from pymongo.errors import AutoReconnect

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.plan import dry_run
from resources.embedders import remote
from resources.registry.ledger import Ledger
from tests.providers.behaviour import count_tokens
from tests.workshop import Workshop


@pytest.fixture
def paid(tmp_path, mongod_uri, static_model, openai_api, monkeypatch) -> Iterator[Workshop]:
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    provider = {"base_url": openai_api.url, "dimensions": 64, "api_key": {"env": "OPENAI_API_KEY"}}
    made.configure({"embedder": {"provider": {"openai": provider}, "max_batch_chunks": 10}})
    made.write([{"_id": n, "text": f"text number {n}"} for n in range(25)])
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def test_a_run_over_its_budget_sends_no_request(paid, openai_api):
    for limit in ({"max_cost_usd": 1e-9}, {"max_cost_usd": 100.0, "max_tokens": 10}):
        paid.configure({"embedder": limit})
        run = paid.run()
        assert not run.success
        assert "nothing is spent" in run.failures[0]
    assert openai_api.requests == []
    assert paid.vectors.count_documents({}) == 0


def test_a_run_that_is_billed_more_than_estimated_stops_and_keeps_what_it_has(paid, openai_api):
    # this tokenizer finds a token in every character, three times what was estimated
    openai_api.behaviour.characters_per_token = 1.0
    paid.configure({"embedder": {"max_tokens": 120, "provider": paid_one_by_one(paid)}})
    run = paid.run()
    assert not run.success
    assert "over `max_tokens: 120`; what is embedded so far is kept" in run.failures[0]
    served = openai_api.texts_served
    assert 0 < len(served) < 25
    paid.settings["embedder"]["max_tokens"] = 10_000
    again = paid.run()
    assert again.success, again.failures
    assert len(paid.stored()) == 25
    assert set(openai_api.texts_served.values()) == {1}


def paid_one_by_one(paid: Workshop) -> dict:
    """The same provider with one request at a time."""
    (settings,) = paid.settings["embedder"]["provider"].values()
    return {"openai": settings | {"concurrency": 1}}


def test_what_was_billed_is_in_metadata_and_ledger(paid, openai_api):
    run = paid.run()
    assert run.success, run.failures
    tokens = sum(count_tokens(f"text number {n}") for n in range(25))
    assert run.embedding_batches["tokens"] == tokens == openai_api.tokens_billed
    cost = tokens * 0.02 / 1e6
    assert run.embedding_batches["cost (USD)"] == pytest.approx(cost)
    assert run.embedding_batches["requests"] == 3
    with open_pipeline(paid.pipeline) as opened:
        (row,) = opened.registry.ledger.spend("films")
        assert opened.registry.ledger.spend("another") == []
        assert opened.registry.ledger.texts_per_second("openai", "text-embedding-3-small") > 0
    assert (row.model, row.texts, row.tokens) == ("text-embedding-3-small", 25, tokens)
    assert row.cost_usd == pytest.approx(cost)
    # nothing to embed costs nothing
    again = paid.run()
    assert again.success
    assert "cost (USD)" not in again.embedding_batches
    assert len(openai_api.requests) == 3


def test_a_plan_says_what_a_run_would_cost_and_touches_nothing(paid, openai_api):
    before = sorted(paid.client[paid.database].list_collection_names())
    found = dry_run(paid.pipeline)
    assert (found.counts.new, found.estimate.texts, found.parts) == (25, 25, {"embed": 25})
    assert 0 < found.estimate.cost_usd < 1e-4
    assert found.seconds is None
    assert sorted(paid.client[paid.database].list_collection_names()) == before
    assert not (paid.folder / "batch_store").exists()
    assert openai_api.requests == []
    paid.run()
    paid.write([{"_id": n, "text": f"text number {n + 1}"} for n in range(25)])
    found = dry_run(paid.pipeline)
    assert (found.counts.changed, found.estimate.texts, found.counts.reused) == (25, 1, 24)
    assert found.seconds > 0


def test_a_refused_text_is_asked_for_once_and_retried_when_it_changes(paid, openai_api):
    openai_api.behaviour.poison = ["number 7"]
    run = paid.run()
    assert run.success, run.failures
    assert run.embedding_batches["refused by the provider"] == 1
    assert len(paid.stored()) == 24
    assert list(paid.quarantine()) == ["7"]
    asked = len(openai_api.requests)
    again = paid.run()
    assert again.success, again.failures
    assert again.source_documents["refused before"] == 1
    assert len(openai_api.requests) == asked, "a refused text is not paid for again"
    assert list(paid.quarantine()) == ["7"]
    paid.write([{"_id": n, "text": f"text number {n}" if n != 7 else "tame"} for n in range(25)])
    healed = paid.run()
    assert healed.success, healed.failures
    assert len(paid.stored()) == 25
    assert paid.quarantine() == {}


@pytest.mark.parametrize("change", [False, True], ids=["planned again", "met as reuse"])
def test_a_batch_that_a_killed_run_wrote_but_did_not_note_is_noted(
    paid, openai_api, monkeypatch, change
):
    # Two batches, and killed at the second: a third would be on its way, answered or not.
    paid.write([{"_id": n, "text": f"text number {n}"} for n in range(20)])
    record, left = Ledger.record, [1]

    def killed(self: Ledger, entry: dict) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop()
        record(self, entry)

    monkeypatch.setattr(Ledger, "record", killed)
    assert not paid.run().success
    monkeypatch.setattr(Ledger, "record", record)
    if change:  # the borders of the batches fall elsewhere
        paid.configure({"embedder": {"max_batch_chunks": 7}})
    again = paid.run()
    assert again.success, again.failures
    with open_pipeline(paid.pipeline) as opened:
        (row,) = opened.registry.ledger.spend("films")
    served = sum(openai_api.texts_served.values())
    assert (row.texts, row.tokens) == (served, openai_api.tokens_billed)
    assert row.unanswered == 0
    entries = list(paid.client[paid.database]["embedding_spend"].find())
    files = list(paid.folder.glob("batch_store/batches/*/*.parquet"))
    assert len(entries) == len(files), "one for each batch"


def test_a_run_says_why_it_ended_though_mongodb_goes_away_as_it_keeps_what_was_answered(
    paid, openai_api, monkeypatch
):
    paid.write([{"_id": n, "text": f"text number {n}"} for n in range(60)])
    openai_api.behaviour.latency = lambda request: 0.0 if request.number == 0 else 0.2
    monkeypatch.setattr(remote, "_GRACE_SECONDS", 60.0)  # a busy machine is no fault
    record, seen = Ledger.record, count()

    def gone(self: Ledger, entry: dict) -> None:
        raise AutoReconnect(f"gone {next(seen)}")

    monkeypatch.setattr(Ledger, "record", gone)
    (failure,) = paid.run().failures
    assert "gone 0" in failure
    assert next(seen) > 1, "what was under way was to be noted, too"
    monkeypatch.setattr(Ledger, "record", record)
    assert paid.run().success
    assert set(openai_api.texts_billed.values()) == {1}


def test_a_request_that_is_never_answered_is_counted_as_unknown(paid, openai_api):
    openai_api.behaviour.fail_next("reset")
    run = paid.run()
    assert run.success, run.failures
    with open_pipeline(paid.pipeline) as opened:
        (row,) = opened.registry.ledger.spend("films")
    assert row.unanswered == 1
    assert row.unanswered_tokens > 0
