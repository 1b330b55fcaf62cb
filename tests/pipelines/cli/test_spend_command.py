"""`embeddings spend`, `status` and `history`: what a lead asks, and what it costs."""

import json
import time
from datetime import datetime

import pytest

from pipelines.framework.catalog import find_pipeline, open_pipeline
from pipelines.framework.modules import Declared
from resources.rerankers.facts import Facts
from tests.pipelines.helpers import DOCUMENTS, SHOP, Place, embeddings, succeeds


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


def test_a_leads_questions(place: Place, first_run: str, monkeypatch: pytest.MonkeyPatch):
    (row,) = json.loads(succeeds("status", SHOP, "--json", "--max-age", "1d"))
    assert (row["vectors"], row["quarantined"], row["well"]) == (len(DOCUMENTS), 0, True)
    assert row["index"]["state"] == "ready"
    assert datetime.fromisoformat(row["last_run"]["ended"]).tzinfo is not None
    shown = succeeds("status", SHOP)
    assert row["last_run"]["id"] in shown
    assert row["space"] in shown
    assert "all well" in shown
    time.sleep(1)
    late = embeddings("status", SHOP, "nobody", "--max-age", "1s")
    assert late.exit_code == 1
    assert "over 1.0 s" in late.stdout
    assert "✗ nobody: there is no pipeline 'nobody'" in late.stdout

    (entry,) = json.loads(succeeds("history", SHOP, "--json"))
    assert (entry["id"], entry["new"]) == (row["last_run"]["id"], len(DOCUMENTS))
    assert entry["id"] in succeeds("history", SHOP, "--since", "1d", "--every")
    assert "no run of" in succeeds("history", SHOP, "--since", "2999-01-01")

    rows = json.loads(succeeds("spend", SHOP, "--json", "--by", "model", "--since", "1d"))
    (day,) = [row for row in rows if row["kind"] == "embedding"]
    assert set(day) >= {"kind", "model", "tokens", "cost_usd"}
    assert "pipeline" not in day
    assert json.loads(succeeds("spend", SHOP, "--json", "--month", "1999-01")) == []
    # Of a whole project, what cannot be seen is said, and what can is told.
    monkeypatch.setattr("pipelines.operations.several.declared", lambda: [_declared()])
    everything = embeddings("spend", "--json")
    assert everything.exit_code == 1
    assert "✗ airbnb: pipeline airbnb needs MONGODB_URI" in everything.stderr
    assert json.loads(everything.stdout) == []
    listed = embeddings("quarantine", "list", "--all")
    assert listed.exit_code == 1
    assert "airbnb needs MONGODB_URI" in listed.stderr
    assert "nothing of any pipeline seen is in quarantine" in listed.stdout


def _declared() -> Declared:
    return Declared("airbnb", pipeline=find_pipeline("airbnb"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--max-age", "soon"],
        ["status", "--max-age", "0h"],
        ["history", SHOP, "--since", "yesterday"],
        ["history", SHOP, "--limit", "0"],
        ["spend", "--month", "2026-13"],
        ["spend", "--since", "99999999999d"],
        ["spend", "--since", "1d", "--month", "2026-11"],
        ["spend", "--by", "colour"],
        ["quarantine", "list"],
        ["quarantine", "list", SHOP, "--all"],
    ],
    ids=" ".join,
)
def test_asked_in_a_wrong_way(arguments: list[str]):
    result = embeddings(*arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
