"""`embeddings spend`: what reranking took stands apart from what embedding took."""

import json

from pipelines.framework.catalog import open_pipeline
from resources.rerankers.facts import Facts
from tests.pipelines.helpers import SHOP, Place, succeeds


def test_reranking_stands_apart(place: Place, first_run: str):
    before = json.loads(succeeds("spend", SHOP, "--json"))
    assert {row["kind"] for row in before} == {"embedding"}
    assert "reranking" not in succeeds("spend", SHOP)
    with open_pipeline(SHOP) as opened:
        meter = opened.registry.reranked.meter(opened.name, Facts("voyage", "rerank-2.5", 0.05))
        meter.add(texts=50, tokens=20_000, estimate=25_000)
        meter.add(texts=50, tokens=None, estimate=1_000_000)
        meter.close()
    rows = json.loads(succeeds("spend", SHOP, "--json"))
    assert [row for row in rows if row["kind"] == "embedding"] == before
    (row,) = [row for row in rows if row["kind"] == "reranking"]
    assert (row["model"], row["requests"], row["texts"], row["tokens"]) == (
        "rerank-2.5", 2, 100, 20_000,
    )  # fmt: skip
    assert row["cost_usd"] == 0.001
    output = succeeds("spend", SHOP)
    embedding, _, reranking = output.partition("\nreranking\n")
    assert "rerank-2.5" not in embedding
    assert "20,000" in reranking
    assert "1 requests of which the bill is not known" in reranking
    assert "besides, 1,000,000 tokens and $0.05" in reranking
