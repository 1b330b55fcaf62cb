"""Measuring of searches, killed and of many queries."""

import gc
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from assets.work.quality import measure, measuring
from pipelines.framework.catalog import open_pipeline
from resources.batch_store.evaluations import WINDOW
from resources.evaluation.judged import JudgedQuery
from tests.assets.test_search_quality import DOCUMENTS, forget, make, numbers
from tests.killing import RunningChild, stop_before

STEPS = (
    "resources.batch_store.evaluations:QueryVectors.write",
    "resources.batch_store.evaluations:Rankings.write",
    "resources.registry.evaluations:Evaluations.record",
)


@pytest.mark.proof
@pytest.mark.parametrize("step", STEPS)
def test_killed_before_any_step_it_goes_on_and_comes_to_the_same(
    tmp_path: Path, mongod_uri: str, static_model: str, step: str
):
    shop = make(tmp_path, mongod_uri, static_model, segments=["kind"])
    first = shop.run()
    assert first.success, first.failures
    with open_pipeline(shop.pipeline) as o:
        whole = numbers(measure(o))
        forget(o, queries=True)
    child = RunningChild(shop, prepare=partial(stop_before, step))
    child.wait_until_frozen()
    child.kill()
    run = shop.run()
    assert run.success, run.failures
    with open_pipeline(shop.pipeline) as o:
        again = measure(o)
        assert again.reused
        assert numbers(again) == whole
        assert len(o.batches.rankings.kept(o.name)) == 1
    shop.client.drop_database(shop.database)


@pytest.mark.proof
def test_ten_thousand_queries_are_never_in_memory_together(
    tmp_path: Path, mongod_uri: str, static_model: str, monkeypatch
):
    shop = make(tmp_path, mongod_uri, static_model)
    queries = tmp_path / "many.jsonl"
    with queries.open("w", encoding="utf-8") as file:
        for number in range(10_000):
            text = f"{DOCUMENTS[number % 40]['text']} {number}"
            line = {"id": number, "query": text, "relevant": [number % 40]}
            file.write(json.dumps(line) + "\n")
    shop.configure({"evaluation": {"queries": {"jsonl": {"path": str(queries)}}}})
    assert shop.run("source_documents", "embedding_batches", "stored_vectors", "search_index")
    alive: list[int] = []
    real = measuring.per_query

    def counted(*args: Any) -> Any:
        alive.append(sum(type(each) is JudgedQuery for each in gc.get_objects()))
        return real(*args)

    monkeypatch.setattr(measuring, "per_query", counted)
    with open_pipeline(shop.pipeline) as o:
        found = measure(o).evaluation
    assert found.queries.answerable == 10_000
    assert len(alive) == -(-10_000 // WINDOW)
    assert 0 < max(alive) <= 3 * WINDOW
    shop.client.drop_database(shop.database)
