"""What an evaluation costs: known before, limited for all candidates together, paid for once."""

from pathlib import Path

import pytest
import yaml

from assets.work.evaluating.candidates import Asked
from pipelines.framework.catalog import open_pipeline
from pipelines.operations.evaluation.comparing import evaluate
from resources.core.errors import ConfigurationError
from resources.registry.ledger import Ledger
from tests.pipelines.helpers import write_config
from tests.pipelines.operations.evaluation.conftest import DOCUMENTS, write_paid
from tests.providers.server import ProviderServer
from tests.workshop import Workshop


def spend(shop: Workshop, server: ProviderServer) -> None:
    """The ledger brackets what the server billed."""
    with open_pipeline(shop.pipeline) as opened:
        found = opened.registry.ledger.spend(shop.name)
    mine = [each for each in found if each.model == "text-embedding-3-small"]
    closed = sum(each.tokens for each in mine)
    unanswered = sum(each.unanswered_tokens for each in mine)
    assert 0 < closed <= server.tokens_billed <= closed + unanswered
    assert sum(each.cost_usd for each in mine) == pytest.approx(closed * 0.02 / 1e6)


@pytest.mark.parametrize("where", ["asked", "candidate", "tokens"])
def test_over_the_budget_no_request_is_sent(
    shop: Workshop, paid: str, openai_api: ProviderServer, where: str
):
    asked = Asked(max_cost_usd=1e-9 if where == "asked" else None)
    limits = {"candidate": {"max_cost_usd": 1e-9}, "tokens": {"max_tokens": 10}}
    budget = write_config(shop.folder / "budget.yaml", embedder=limits.get(where, {}))
    said: list[str] = []
    with pytest.raises(ConfigurationError, match=r"nothing is spent; .*smaller sample"):
        evaluate(shop.pipeline, [[paid, budget]], asked=asked, spending=said.append)
    assert openai_api.requests == []
    assert any("to embed with text-embedding-3-small: 60 texts" in line for line in said)
    assert "embedding_spend" not in shop.client[shop.database].list_collection_names()


def test_a_budget_holds_for_all_candidates_together(
    shop: Workshop, paid: str, openai_api: ProviderServer
):
    prompted = write_paid(shop, openai_api, document_prompt="search for: ")
    each = evaluate_cost(shop, [paid])
    both = evaluate_cost(shop, [paid, prompted])
    assert both > 1.9 * each
    asked = Asked(max_cost_usd=each * 1.5)
    with pytest.raises(ConfigurationError, match="over `max_cost_usd"):
        evaluate(shop.pipeline, [paid, prompted], asked=asked)
    assert openai_api.requests == []
    assert evaluate(shop.pipeline, [paid], asked=asked).spent.cost_usd


def evaluate_cost(shop: Workshop, candidates: list[str]) -> float:
    """What it is said to cost, where nothing may be spent."""
    said: list[str] = []
    with pytest.raises(ConfigurationError):
        evaluate(shop.pipeline, candidates, asked=Asked(max_cost_usd=0), spending=said.append)
    (total,) = [line for line in said if line.startswith("in all about $")]
    return float(total.removeprefix("in all about $"))


def test_killed_halfway_and_again_it_pays_once_and_the_ledger_has_it(
    shop: Workshop, paid: str, openai_api: ProviderServer, monkeypatch: pytest.MonkeyPatch
):
    batches = shop.folder / "batch_store" / "batches"
    record, left = Ledger.record, [1, 1]

    def killed(self: Ledger, entry: dict) -> None:
        if entry["provider"] == "openai":
            if not left:
                raise KeyboardInterrupt
            left.pop()
        record(self, entry)

    monkeypatch.setattr(Ledger, "record", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(shop.pipeline, [paid])
    monkeypatch.setattr(Ledger, "record", record)
    written = len(list(batches.rglob("*.parquet")))
    found = evaluate(shop.pipeline, [paid])
    assert 0 < written < len(list(batches.rglob("*.parquet")))
    documents = {each["text"] for each in DOCUMENTS}
    served = {text: n for text, n in openai_api.texts_served.items() if text in documents}
    assert set(served) == documents
    # Only what was in flight when it was killed may be paid for again.
    assert max(served.values()) <= 2
    assert 1 in served.values()
    spend(shop, openai_api)
    requests = len(openai_api.requests)
    again = evaluate(shop.pipeline, [paid])
    assert len(openai_api.requests) == requests
    assert again.spent.texts == again.spent.tokens == 0
    assert [row.measures for row in again.rows] == [row.measures for row in found.rows]
    # A switch to that model pays for nothing that was in the sample.
    run = shop.run(config=yaml.safe_load(Path(paid).read_text("utf-8")))
    assert run.success, run.failures
    more = {text for call in openai_api.requests[requests:] for text in call.texts}
    assert not documents & more
    assert len(shop.stored()) == len(DOCUMENTS)


def test_batch_jobs_are_asked_in_real_time_but_told_at_their_price(
    shop: Workshop, openai_api: ProviderServer, paid: str
):
    batch = write_paid(shop, openai_api, mode="batch")
    found = evaluate(shop.pipeline, [paid, batch])
    real_time, later = found.rows[1].whole, found.rows[2].whole
    assert later.tokens == real_time.tokens
    assert real_time.cost_usd
    assert later.cost_usd == pytest.approx(real_time.cost_usd / 2)
    assert {call.path for call in openai_api.calls} == {"/embeddings"}
    # One space: the second one embeds nothing anew.
    documents = {each["text"] for each in DOCUMENTS}
    assert all(openai_api.texts_served[text] == 1 for text in documents)
    assert found.rows[1].measures == found.rows[2].measures


def test_texts_that_a_provider_refuses_cost_the_others_nothing(
    shop: Workshop, paid: str, openai_api: ProviderServer
):
    openai_api.behaviour.poison = ["tide of the sea"]
    found = evaluate(shop.pipeline, [paid])
    assert found.rows[1].without == 1
    assert found.rows[1].measures["recall@100"].mean < 1
    assert found.rows[0].measures["recall@100"].mean == 1
    assert any("makes no vector of 1 texts, such as one of 0" in note for note in found.notes)
    # It stands in no quarantine: no run of the pipeline has met it.
    assert shop.quarantine() == {}


def test_what_the_whole_source_would_cost_goes_by_what_was_billed(
    shop: Workshop, paid: str, openai_api: ProviderServer
):
    openai_api.behaviour.characters_per_token = 1.0  # three times what is estimated
    found = evaluate(shop.pipeline, [paid], asked=Asked(size=30))
    characters = sum(len(each["text"]) for each in DOCUMENTS)
    whole = found.rows[1].whole
    assert whole.tokens == pytest.approx(characters, rel=0.05)
    assert whole.cost_usd == pytest.approx(whole.tokens * 0.02 / 1e6)
