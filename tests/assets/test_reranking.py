"""The resource `rerank` in a pipeline: legal in a run, opened for searches, its bill kept."""

import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from pipelines.framework.catalog import open_pipeline
from resources.core.errors import ConfigurationError
from resources.rerankers.base import Candidate
from tests.models import build_cross_encoder
from tests.providers.reranking import relevance
from tests.providers.voyage import VoyageServer
from tests.search_node import search_node
from tests.workshop import Workshop

QUERY = "a red bicycle"
TEXTS = {"one": "a blue car", "two": "a red bicycle", "three": "bicycle lanes"}


@pytest.fixture
def films(
    tmp_path, mongod_uri: str, static_model: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    monkeypatch.delenv("VOYAGE_API_KEY", raising=False)
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write([{"_id": at, "text": text} for at, text in TEXTS.items()])
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def voyage(api: VoyageServer, **settings: Any) -> dict[str, Any]:
    wanted = {"base_url": api.url, "api_key": {"env": "VOYAGE_API_KEY"}, **settings}
    return {"provider": {"voyage": wanted}, "candidates": 20}


def candidates(films: Workshop) -> list[Candidate]:
    return [Candidate(row["_id"], row["text"]) for row in films.vectors.find().sort("_id", 1)]


def test_a_run_may_be_launched_with_it(films, voyage_api, monkeypatch):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    run = films.run(config={"resources": {"rerank": {"config": voyage(voyage_api)}}})
    assert run.success, run.failures
    assert len(films.stored()) == 3
    assert voyage_api.calls == [], "a run reranks nothing"


def test_a_search_opens_it_and_its_bill_is_kept(films, voyage_api, monkeypatch):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    assert films.run().success
    films.configure({"rerank": voyage(voyage_api)})
    with open_pipeline(films.pipeline) as opened:
        reranker = opened.open_reranker()
        assert reranker is not None
        assert opened.reranker.candidates == 20
        found = [reranker.scores(QUERY, candidates(films)) for _ in range(3)]
    order = [row.text for row in candidates(films)]
    assert found[0].scores == tuple(relevance(QUERY, text or "") for text in order)
    with open_pipeline(films.pipeline) as opened:
        (row,) = opened.registry.reranked.spend("films")
        embedded = opened.registry.ledger.spend("films")
    tokens = sum(call.tokens for call in voyage_api.calls)
    assert (row.requests, row.texts, row.tokens, row.model) == (3, 9, tokens, "rerank-2.5")
    assert row.cost_usd == pytest.approx(tokens * 0.05 / 1e6)
    assert all(spent.model != "rerank-2.5" for spent in embedded)


def test_a_missing_key_is_said_when_it_is_asked_for_and_not_before(films, voyage_api):
    assert films.run().success
    films.configure({"rerank": voyage(voyage_api)})
    with open_pipeline(films.pipeline) as opened:
        assert opened.store
        for ask in (opened.open_reranker, lambda: opened.reranker):
            with pytest.raises(
                ConfigurationError,
                match="pipeline films needs VOYAGE_API_KEY for its rerank: set that environment",
            ):
                ask()


def test_nothing_chosen_opens_nothing(films):
    with open_pipeline(films.pipeline) as opened:
        assert opened.open_reranker() is None


def test_a_model_of_ones_own_costs_nothing_and_writes_nothing(films, tmp_path):
    model = build_cross_encoder(tmp_path / "reader")
    assert films.run().success
    films.configure({"rerank": {"provider": {"sentence_transformers": {"model": str(model)}}}})
    with open_pipeline(films.pipeline) as opened:
        reranker = opened.open_reranker()
        assert reranker is not None
        assert len(reranker.scores(QUERY, candidates(films)).order()) == 3
    assert "reranking_spend" not in films.client[films.database].list_collection_names()


def test_the_servers_own_stage_over_what_a_run_has_stored(films, mongod_uri):
    assert films.run().success
    with search_node(mongod_uri) as node:
        node.reranking.on = True
        films.configure(
            {
                "mongodb": {"deployment": {"server": {"uri": node.uri}}},
                "rerank": {"provider": {"mongodb": {}}},
            }
        )
        with open_pipeline(films.pipeline) as opened:
            reranker = opened.open_reranker()
            assert reranker is not None
            reranker.prepare()
            ranking = reranker.scores(QUERY, candidates(films))
        with open_pipeline(films.pipeline) as opened:
            (row,) = opened.registry.reranked.spend()
    assert candidates(films)[ranking.order()[0]].id == candidates(films)[-1].id
    assert (row.requests, row.tokens, row.unbilled, row.texts) == (1, 0, 1, 3)
    assert row.unbilled_tokens > 0
    assert row.unbilled_usd == pytest.approx(row.unbilled_tokens * 0.02 / 1e6)


def test_a_search_does_not_wait_for_the_ledger(films, voyage_api, monkeypatch):
    """The registry's server is away: the answers come all the same."""
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    assert films.run().success
    films.configure({"rerank": voyage(voyage_api)})
    asked = candidates(films)
    with open_pipeline(films.pipeline) as opened:
        reranker = opened.open_reranker()
        assert reranker is not None
        back, writing = threading.Event(), threading.Event()

        def away(*_: Any, **__: Any) -> None:
            writing.set()
            back.wait(60)
            raise AutoReconnect("the registry's server is away")

        monkeypatch.setattr(Collection, "update_one", away)
        monkeypatch.setattr("resources.registry.reranking.FLUSH_SECONDS", 0.001)
        for _ in range(5):
            assert reranker.scores(QUERY, asked).order()
            assert writing.wait(60)
        assert not back.is_set(), "a write hangs, and all the answers came"
        back.set()
