"""Another space serves than the first: every operation tells of what people search, and says so.

The pipeline's files ask for the space from before, or for the one that serves by now.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.framework import execution
from pipelines.framework.catalog import open_pipeline
from pipelines.operations import lineage, queries
from pipelines.operations.audit import audit, repair
from pipelines.operations.doctor import examine
from pipelines.operations.evaluation.comparing import evaluate
from pipelines.operations.evaluation.recorded import accept, export_recorded
from pipelines.operations.history import history
from pipelines.operations.models_for import models_for
from pipelines.operations.quarantined import in_quarantine
from pipelines.operations.spending import spending
from pipelines.operations.status import status
from resources.core.vectors import from_bson, to_bson
from resources.registry.pipeline_spaces import Change
from tests.models import build_static_model
from tests.pipelines.operations.conftest import Town

NAME = "moved"
DOCUMENTS = [{"_id": n, "text": f"place {n} by day", "kind": "place"} for n in range(9)]


@dataclass(frozen=True)
class Moved:
    """A pipeline of which another space than the first one serves.

    Attributes:
        first: Id of the space that it had before.
        serving: Id of the one that serves now.
        model: Of that one.
        wanted: Id of the one that its files ask for.
    """

    town: Town
    first: str
    serving: str
    model: str
    wanted: str

    @property
    def path(self) -> str:
        return f"embedding__{self.serving}"

    @property
    def vectors(self) -> Any:
        return self.town.client[self.town.database][NAME]


@pytest.fixture(scope="module")
def promoted(
    town: Town, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, str]]:
    model = str(build_static_model(tmp_path_factory.mktemp("moved") / "other", seed=7))
    town.add(NAME, evaluation={"queries": {"generated": {"sample": 5}}})
    town.write(NAME, [*DOCUMENTS, {"_id": "empty", "text": ""}])
    execution.run(NAME)
    other = town.config("other", embedder={"provider": {"sentence_transformers": {"model": model}}})
    execution.run(NAME, [other])
    with open_pipeline(NAME) as o:
        record = o.record
        states = {record.state(each.space_id): each.space_id for each in record.entries()}
        first, serving = states["serving"], states["ready"]
        assert o.registry.of_pipelines.serve(record, Change("promoted", serving, by="a test"))
    execution.run(NAME)
    yield first, serving, model
    (town.folder / "pipelines" / f"{NAME}.py").unlink()


@pytest.fixture(scope="module", params=["unchanged", "changed"])
def moved(
    request: pytest.FixtureRequest, town: Town, promoted: tuple[str, str, str]
) -> Iterator[Moved]:
    first, serving, model = promoted
    changed = request.param == "changed"
    settings: dict[str, Any] = {"evaluation": {"queries": {"generated": {"sample": 5}}}}
    if changed:
        settings["embedder"] = {"provider": {"sentence_transformers": {"model": model}}}
    town.add(NAME, **settings)
    town.write(NAME, [*DOCUMENTS, {"_id": "empty", "text": ""}])
    return Moved(town, first, serving, model, serving if changed else first)


def command(*arguments: str, status: int = 0) -> Any:
    """What a command says to programs."""
    found = CliRunner().invoke(app, [*arguments, "--json"])
    assert found.exit_code == status, found.output
    return json.loads(found.stdout)


def test_status(moved: Moved):
    (row,) = status([NAME])
    assert (row.space, row.path, row.vectors) == (moved.serving, moved.path, 9)
    assert row.model == moved.model.rsplit("/", 1)[-1]
    assert row.index
    assert (row.index.state, row.index.indexed, row.index.stored) == ("ready", 9, 9)
    assert row.quarantined == 1, "the empty text is in quarantine once for each of the spaces"
    (other,) = row.others
    assert (other.space, other.state, other.path) == (moved.first, "previous", "embedding")
    assert (other.vectors, other.bytes, other.behind) == (9, row.bytes, 0)
    assert other.wanted == (moved.wanted == moved.first)
    assert "in quarantine, more than" in row.wrong[0]
    shown = CliRunner().invoke(app, ["status", NAME]).output
    assert moved.serving in shown
    assert moved.first in shown


def test_doctor(moved: Moved):
    found = {each.topic: each for each in examine(NAME)}
    assert f"{moved.serving} serves, at {moved.path}" in found["spaces"].text
    assert f"{moved.first} is beside it, previous, at embedding" in found["spaces"].text
    assert (found["spaces"].state == "note") == (moved.wanted == moved.first)
    assert ("serving model" in found) == (moved.wanted == moved.first)


def test_quarantine_spend_history_and_queries(moved: Moved):
    entries = in_quarantine([NAME]).entries[NAME]
    assert {(each.id, each.space) for each in entries} == {
        ("empty", moved.first),
        ("empty", moved.serving),
    }
    totals = spending([NAME], by=["pipeline"]).embedding_total
    assert totals["texts"] == 18
    last = history(NAME, every=True)[0]
    assert last.space == moved.serving
    assert queries.listed(NAME).count == 5


def test_models(moved: Moved):
    found = models_for(NAME)
    assert [each.entry.model for each in found.models if each.serves] == ["other"]


def test_evaluations(moved: Moved, tmp_path: Path):
    compared = evaluate(NAME)
    assert [row.space for row in compared.rows] == [moved.serving]
    assert accept(NAME, "last").space == moved.serving
    assert all(path.exists() for path in export_recorded(NAME, tmp_path))


def test_lineage(moved: Moved):
    found = lineage.of_vector(NAME, "3")
    assert (found.path, found.state) == (moved.path, "serving")
    assert [each.state for each in found.spaces] == ["serving", "previous"]
    assert [each.state for each in lineage.summary(NAME)] == ["serving", "previous"]


def test_commands(moved: Moved):
    assert command("status", NAME, status=1)[0]["space"] == moved.serving
    assert command("lineage", NAME, "--id", "3")["state"] == "serving"
    assert command("audit", NAME)["path"] == moved.path
    assert command("stop", NAME) == {"stopped": []}
    assert command("quarantine", "retry", NAME, "--all")["pipeline"] == NAME


def test_audit_and_its_repair(moved: Moved):
    found = audit(NAME)
    assert (found.space, found.path, found.others) == (moved.serving, moved.path, (moved.first,))
    assert (found.stored, found.indexed, found.findings) == (9, 9, [])
    before = moved.vectors.find_one({"_id": 3})
    wrong = to_bson(-from_bson(before[moved.path]), "float32")
    moved.vectors.update_one({"_id": 3}, {"$set": {moved.path: wrong}})
    (fault,) = audit(NAME).findings
    assert (fault.between, fault.count) == ("batches and store", 1)
    assert "3" in fault.text
    repair(NAME)
    assert audit(NAME).findings == []
    after = moved.vectors.find_one({"_id": 3})
    assert after[moved.path] == before[moved.path]
    assert after["embedding"] == before["embedding"]
