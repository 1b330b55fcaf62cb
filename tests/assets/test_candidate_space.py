"""Another embedding space is built beside the one that serves, which nothing of it touches."""

import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.framework.catalog import open_pipeline
from resources.registry.pipeline_spaces import Change
from tests.models import build_static_model
from tests.workshop import Workshop

DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 7}", "kind": f"k{n % 3}"} for n in range(20)]


@pytest.fixture
def other(tmp_path: Path) -> str:
    """Another model of the same width."""
    return str(build_static_model(tmp_path / "other", seed=7))


def with_model(model: str, **model_change: Any) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    return {
        "resources": {"embedder": {"config": embedder}, "model_change": {"config": model_change}}
    }


def test_it_lies_at_a_path_of_its_own_and_serves_once_it_is_promoted(
    workshop: Workshop, other: str
):
    workshop.write(DOCUMENTS)
    first = workshop.run()
    assert first.success, first.failures
    before = workshop.vectors.find_one({"_id": 3})
    beside = workshop.run(config=with_model(other))
    assert beside.success, beside.failures
    assert beside.source_documents["unchanged"] == 20
    assert beside.candidate_space["embedded"] == 20
    with open_pipeline(workshop.pipeline) as o:
        record = o.record
        states = {entry.space_id: record.state(entry.space_id) for entry in record.entries()}
        assert sorted(states.values()) == ["ready", "serving"]
    after = workshop.vectors.find_one({"_id": 3})
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 2
    assert workshop.search("text 3").space.id == record.serving
    (ready,) = (name for name, state in states.items() if state == "ready")
    with open_pipeline(workshop.pipeline) as o:
        spaces = o.registry.of_pipelines
        assert spaces.serve(record, Change("promoted", ready, by="somebody", why="a test"))
        assert spaces.serve(record, Change("promoted", ready)) is None
    while workshop.search("text 3").space.id != ready:  # a searcher looks every now and then
        time.sleep(0.05)
    tonight = workshop.run()
    assert tonight.embedding_batches["embedded"] == 0
    path = f"embedding__{ready}"
    made = tonight.stored_vectors["dagster/column_lineage"].deps_by_column
    assert [dep.column_name for dep in made[path]] == ["vector"], "the path that serves"
    used = tonight.search_index["dagster/column_lineage"].deps_by_column
    assert [dep.column_name for dep in used[path]] == [path]
    assert "candidate" in tonight.candidate_space
    assert workshop.vectors.find_one({"_id": 3}) == after
    with open_pipeline(workshop.pipeline) as o:
        told = o.registry.of_pipelines.history("films")
    assert [each.event for each in told] == ["first", "built", "promoted"]


def test_what_serves_may_be_left_as_it_is(workshop: Workshop, other: str):
    workshop.write(DOCUMENTS)
    assert workshop.run().success
    workshop.write(DOCUMENTS[:-1])
    beside = workshop.run(config=with_model(other, keep_serving=False))
    assert beside.success, beside.failures
    assert beside.candidate_space["vectors stored"] == 19
    assert "left as it is" in beside.stored_vectors
    with open_pipeline(workshop.pipeline) as o:
        assert o.main.store.count() == 20
