"""`doctor` and `workspace.yaml`: is the pipeline in it, however it is named there, and once?"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import pipelines
from pipelines.framework.catalog import find_pipeline
from pipelines.operations.doctor.finding import Finding, explained
from pipelines.operations.doctor.workspace import TOPIC, Sought, look

SHOP = """from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(
    name="ws_shop", configs=["quickstart.yaml", "mongodb/embedded.yaml"], schedule={schedule}
)
defs = pipeline.definitions()
"""
OWN = "python_module: {module_name: pipelines.ws_shop, location_name: own, working_directory: .}"
SHARED = "python_module: {module_name: pipelines.framework.location, working_directory: .}"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project with the pipeline `ws_shop`, and modules of its own beside `pipelines/`."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "ws_shop.py").write_text(SHOP.format(schedule="None"), "utf-8")
    (tmp_path / "ws_all.py").write_text(
        "import dagster as dg\n"
        "from pipelines.ws_shop import pipeline\n"
        "everything = dg.Definitions.merge(pipeline.definitions())\n",
        "utf-8",
    )
    (tmp_path / "ws_other.py").write_text("import dagster as dg\ndefs = dg.Definitions()\n")
    (tmp_path / "ws_broken.py").write_text("raise SystemExit('no such luck')\n", "utf-8")
    monkeypatch.setenv("EMBEDDINGS_PROJECT", str(tmp_path))
    package = [*pipelines.__path__, str(tmp_path / "pipelines")]
    monkeypatch.setattr(pipelines, "__path__", package)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.rpartition(".")[2].startswith("ws_")]:
        del sys.modules[name]
    vars(pipelines).pop("ws_shop", None)


@pytest.fixture
def looked(project: Path) -> Callable[..., Finding]:
    def look_at(*entries: str) -> Finding:
        lines = "".join(f"  - {entry}\n" for entry in entries)
        (project / "workspace.yaml").write_text(f"load_from:\n{lines}", "utf-8")
        return look(Sought.of(find_pipeline("ws_shop"), "ws_shop"))

    return look_at


@pytest.mark.parametrize(
    "entry",
    [
        OWN,
        SHARED,
        "python_module: pipelines.ws_shop",
        "python_package: pipelines.ws_shop",
        "python_file: pipelines/ws_shop.py",
        "python_file: {relative_path: pipelines/ws_shop.py, working_directory: .}",
        "python_module: {module_name: ws_all, working_directory: .}",
        "python_file: {relative_path: ws_all.py, attribute: everything, working_directory: .}",
    ],
)
def test_it_is_found_however_it_is_named(looked: Callable[..., Finding], entry: str):
    other = "python_module: {module_name: ws_other, working_directory: .}"
    airbnb = "python_module: {module_name: pipelines.airbnb, working_directory: .}"
    found = looked(other, entry, airbnb)
    assert (found.state, found.fix) == ("ok", ""), found.text
    assert "ws_shop is in the code location" in found.text


@pytest.mark.parametrize("schedule", ["None", "'0 3 * * *'"])
def test_in_none_it_is_a_problem_only_with_a_schedule_and_the_way_out_works(
    project: Path, looked: Callable[..., Finding], schedule: str
):
    (project / "pipelines" / "ws_shop.py").write_text(SHOP.format(schedule=schedule), "utf-8")
    sys.modules.pop("pipelines.ws_shop", None)
    found = looked("python_module: {module_name: ws_other, working_directory: .}")
    assert found.state == ("note" if schedule == "None" else "problem")
    assert "is in no code location" in found.text
    added = found.fix.removeprefix("add to its `load_from`: - ")
    assert looked(added).state == "ok"


def test_in_two_it_cannot_be_launched(looked: Callable[..., Finding]):
    found = looked(OWN, SHARED)
    assert found.state == "problem"
    assert "in 2 code locations, own and pipelines.framework.location" in found.text


def test_what_cannot_be_looked_into_is_named(looked: Callable[..., Finding]):
    found = looked(
        "python_module: {module_name: ws_broken, working_directory: .}",
        "grpc_server: {host: localhost, port: 4266, location_name: elsewhere}",
        "python_module: {module_name: ws_all, working_directory: ., executable_path: /bin/false}",
    )
    assert found.state == "note"
    for words in ("ws_broken (SystemExit: no such luck)", "elsewhere (its server runs elsewhere)",
                  "ws_all (it runs in /bin/false)"):  # fmt: skip
        assert words in found.text, found.text


@pytest.mark.parametrize("content", ["", "load_from: 3", "load_from: [{python_module: ", "x: 1"])
def test_a_workspace_that_dagster_cannot_read(project: Path, content: str):
    (project / "workspace.yaml").write_text(content, "utf-8")
    found = explained(TOPIC, Sought.of(find_pipeline("ws_shop"), "ws_shop"), look)
    assert found.state == "problem"
    assert "workspace.yaml cannot be read" in found.text


def test_without_one_everything_is_in_none(project: Path):
    found = explained(TOPIC, Sought.of(find_pipeline("ws_shop"), "ws_shop"), look)
    assert found.state == "problem"
    assert "workspace.yaml" in found.text


def test_a_pipeline_that_is_given_itself_is_found_by_its_module(looked: Callable[..., Finding]):
    assert Sought.of(find_pipeline("ws_shop")).module == "pipelines.ws_shop"
