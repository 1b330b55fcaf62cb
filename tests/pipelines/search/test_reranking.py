"""Searches whose candidates a model reads again."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.operations.search import open_searcher
from resources.core.errors import ConfigurationError
from tests.models import build_cross_encoder
from tests.providers.behaviour import Behaviour
from tests.providers.voyage import VoyageServer
from tests.workshop import Workshop


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_cross_encoder(tmp_path_factory.mktemp("models") / "reader")


def by_cross_encoder(films: Workshop, reader: Path, **settings: Any) -> Workshop:
    provider = {"sentence_transformers": {"model": str(reader), "device": "cpu"}}
    films.configure({"rerank": {"provider": provider, **settings}})
    return films


def test_candidates_come_in_the_order_of_who_reads_them(films: Workshop, reader: Path):
    from sentence_transformers import CrossEncoder

    question = "the film number 7"
    films.run()
    by_cross_encoder(films, reader, candidates=12)
    with open_searcher(films.pipeline) as searcher:
        first = searcher.search(question, limit=12, rerank=False)
        again = searcher.search(question, limit=4)
    scores = CrossEncoder(str(reader), device="cpu").predict(
        [(question, hit.text or "") for hit in first.hits]
    )
    order = sorted(range(12), key=lambda at: (-scores[at], at))
    assert [hit.id for hit in again.hits] == [first.hits[at].id for at in order[:4]]
    for hit, at in zip(again.hits, order, strict=False):
        assert hit.score == pytest.approx(float(scores[at]), abs=1e-5)
        assert hit.ranks["found"] == at + 1
        assert hit.lineage == first.hits[at].lineage
    assert "reader" in again.scored_by
    assert "reader" not in first.scored_by


def test_grouped_floored_and_filtered_too(films: Workshop, reader: Path):
    films.configure({"source": {"chunking": {"recursive": {"size": 40, "overlap": 0}}}})
    films.write(
        [
            {
                "_id": name,
                "text": "\n\n".join(f"{name} tells of {n} and no more" for n in range(9)),
                "kind": name,
            }
            for name in ("cat", "dog", "owl")
        ]
    )
    films.run()
    by_cross_encoder(films, reader)
    with open_searcher(films.pipeline) as searcher:
        grouped = searcher.search("the owl", limit=3, group_by_source=True)
        assert sorted(hit.source_id for hit in grouped.hits) == ["cat", "dog", "owl"]
        scores = [hit.score for hit in grouped.hits]
        assert scores == sorted(scores, reverse=True)
        above = searcher.search("the owl", limit=3, group_by_source=True, min_score=scores[1])
        assert [hit.id for hit in above.hits] == [hit.id for hit in grouped.hits[:2]]
        owls = searcher.search("the owl", limit=50, filter={"kind": "owl"})
        assert {hit.source_id for hit in owls.hits} == {"owl"}


def test_a_vector_has_no_words(films: Workshop, reader: Path):
    films.run()
    by_cross_encoder(films, reader)
    with open_searcher(films.pipeline) as searcher:
        (vector,) = searcher.embed_queries(["the film"])
        found = searcher.search(vector, limit=3)
        plain = searcher.search("the film", limit=3, rerank=False)
    assert [hit.id for hit in found.hits] == [hit.id for hit in plain.hits]
    assert "no words" in " ".join(found.notes)


def test_one_that_ranks_nothing_is_noticed(films: Workshop, tmp_path: Path):
    films.run()
    by_cross_encoder(films, build_cross_encoder(tmp_path / "flat", constant=True))
    with open_searcher(films.pipeline) as searcher:
        found = searcher.search("the film number 7", limit=5)
        plain = searcher.search("the film number 7", limit=5, rerank=False)
    assert [(hit.id, hit.score) for hit in found.hits] == [
        (hit.id, hit.score) for hit in plain.hits
    ]
    assert "ranks nothing" in " ".join(found.notes)
    assert found.scored_by == plain.scored_by


def test_without_its_key_nothing_is_embedded(films: Workshop, monkeypatch):
    monkeypatch.delenv("VOYAGE_API_KEY", raising=False)
    films.run()
    films.configure({"rerank": {"provider": {"voyage": {"model": "rerank-2.5"}}}})
    with open_searcher(films.pipeline) as searcher:
        monkeypatch.setattr(searcher._queries, "embed", lambda *_: pytest.fail("it was embedded"))
        with pytest.raises(ConfigurationError, match="VOYAGE_API_KEY"):
            searcher.search("the film")
        monkeypatch.undo()
        assert searcher.search("the film", rerank=False).hits, "the way out"


def test_what_it_costs_stands_in_the_ledger(films: Workshop, monkeypatch: pytest.MonkeyPatch):
    from pipelines.framework.catalog import open_pipeline

    films.run()
    with VoyageServer(Behaviour()) as server:
        monkeypatch.setenv("VOYAGE_API_KEY", server.behaviour.key)
        films.configure(
            {
                "rerank": {
                    "candidates": 10,
                    "provider": {
                        "voyage": {
                            "model": "rerank-2.5",
                            "base_url": server.url,
                        }
                    },
                }
            }
        )
        with open_searcher(films.pipeline) as searcher:
            assert len(searcher.search("the film", limit=3).hits) == 3
    with open_pipeline(films.pipeline) as opened:
        (row,) = opened.registry.reranked.spend(opened.name)
    assert (row.requests, row.texts) == (1, 10)
    assert row.tokens > 0
