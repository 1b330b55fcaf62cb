"""A model is withdrawn: who rests on it, declared in code or not, and what its successor takes."""

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.framework import execution
from pipelines.operations.lineage import withdrawal
from pipelines.operations.lineage.withdrawal import matches
from resources.core.errors import QueryRefused
from resources.core.space import EmbeddingSpace
from tests.pipelines.operations.conftest import Town
from tests.providers.voyage import voyage_server

TEXTS = [{"_id": n, "text": f"exhibit {n} of the west wing"} for n in range(5)]


@pytest.fixture(scope="module")
def museum(town: Town) -> Town:
    """A pipeline on a legacy model, which is not declared any more once it has run."""
    with voyage_server() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOYAGE_API_KEY", server.behaviour.key)
        settings = {"model": "voyage-3.5", "base_url": server.url, "dimensions": 256}
        town.add("museum", embedder={"provider": {"voyage": settings}})
        town.write("museum", TEXTS)
        execution.run("museum")
    (town.folder / "pipelines" / "museum.py").unlink()
    return town


def test_who_rests_on_it_and_what_comes_next(museum: Town):
    found = withdrawal("voyage-3.5")
    (model,) = found.models
    assert (model.state, model.successor, model.retired) == ("legacy", "voyage-4", "2027-12-01")
    (row,) = found.resting
    assert (row.pipeline, row.in_code, row.state) == ("museum", False, "serving")
    assert row.store == f"{museum.database}.museum:embedding"
    assert (row.vectors, row.counted, row.model) == (5, True, "voyage-3.5")
    assert (row.successor, row.same_space) == ("voyage-4", False)
    assert row.tokens
    assert row.cost_usd == pytest.approx(row.tokens * 0.06 / 1e6)
    assert row.seconds is None, "no run of the successor yet"
    assert "voyage/voyage-3.5" in found.known
    assert not [each for each in found.unseen.values() if not each.asleep]


def test_another_successor_may_be_asked_for(museum: Town):
    (row,) = withdrawal("voyage-3.5", to="openai/text-embedding-3-large").resting
    assert row.tokens
    assert row.cost_usd == pytest.approx(row.tokens * 0.13 / 1e6)
    (row,) = withdrawal("voyage-3.5", to="sentence-transformers/all-MiniLM-L6-v2").resting
    assert row.cost_usd == 0
    with pytest.raises(QueryRefused, match="embeddings models"):
        withdrawal("voyage-3.5", to="nothing")


def test_a_part_of_a_name_finds_those_that_have_it(museum: Town):
    found = withdrawal("3.5")
    assert not found.exact
    assert {row.model for row in found.resting} == {"voyage-3.5"}
    none = withdrawal("voyage-3-large")
    assert none.resting == []
    assert [each.successor for each in none.models] == ["voyage-4-large"]
    assert {row.pipeline for row in withdrawal("static").resting} >= {"films"}
    assert {row.pipeline for row in withdrawal("static", ["films"]).resting} == {"films"}
    with pytest.raises(QueryRefused):
        withdrawal(" ")


def test_the_command(museum: Town):
    runner = CliRunner()
    shown = runner.invoke(app, ["lineage", "--model", "voyage-3.5"])
    assert shown.exit_code == 0, shown.output
    for word in ("legacy", "voyage-4", "no longer in code", "museum", "serving"):
        assert word in shown.stdout
    said = json.loads(runner.invoke(app, ["lineage", "--model", "voyage-3.5", "--json"]).stdout)
    assert said["resting"][0]["vectors"] == 5
    assert runner.invoke(app, ["lineage", "--model", "x", "--id", "1"]).exit_code == 2
    assert runner.invoke(app, ["lineage"]).exit_code == 2
    assert runner.invoke(app, ["lineage", "films", "--to", "x"]).exit_code == 2


@pytest.mark.parametrize(
    ("asked", "whole", "part"),
    [
        ("voyage-4-large", True, True),
        ("Voyage-4-Large ", True, True),
        ("voyage/voyage-4-large", True, True),
        ("voyage-4", True, True),
        ("voyage-4-lite", False, False),
        ("voyage", False, True),
        ("large", False, True),
        ("minilm", False, False),
    ],
)
def test_a_name_is_of_a_model_or_of_its_family(asked: str, whole: bool, part: bool):
    space: Any = EmbeddingSpace("voyage", "voyage-4", "", 1024, "", normalized=True)
    assert matches(asked, space, "voyage-4-large") == whole
    assert matches(asked, space, "voyage-4-large", part=True) == part


def test_the_last_part_of_a_name_will_do():
    name = "sentence-transformers/all-MiniLM-L6-v2"
    space = EmbeddingSpace("sentence_transformers", name, "", 384, "", normalized=True)
    assert matches("all-minilm-l6-v2", space, name)
    assert matches(name, space, name)
