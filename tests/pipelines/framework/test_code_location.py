"""Runs of the command line stand where the Dagster UI has their pipeline: by workspace.yaml."""

import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus, RunsFilter
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

import pipelines
from pipelines.framework.catalog import find_pipeline
from pipelines.framework.code_location import CodeLocation, code_location
from pipelines.framework.execution import RunFailed, run
from pipelines.framework.outcome import RunOutcome
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT

MODULE = """from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(name="home_films", configs=["films.yaml"])
{name} = pipeline.definitions()
"""

SHARED = {"python_module": {"module_name": "pipelines.framework.location"}}
OWN = {"python_module": {"module_name": "pipelines.home_films", "location_name": "films"}}
FILE = {"python_file": {"relative_path": "pipelines/home_films.py", "attribute": "defs"}}
FOREIGN = {"python_module": "somebody.elses"}
SERVER = {"grpc_server": {"host": "127.0.0.1", "port": 4000, "location_name": "home_films"}}

SELECTED = [
    (OWN, "films", False),
    (FILE, "home_films.py:defs", False),
    ({"python_package": "pipelines.home_films"}, "pipelines.home_films", False),
    (SHARED, "pipelines.framework.location", True),
    (SERVER, "home_films", False),
]


class Project:
    """A project with one pipeline, `home_films`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "pipelines").mkdir(parents=True)
        (root / "configs").mkdir()
        self.write("pipelines/home_films.py", MODULE.format(name="defs"))
        self.source({"texts": {"documents": ["a", "b"]}})
        self.workspace(OWN)

    def write(self, name: str, content: str) -> None:
        (self.root / name).write_text(content, "utf-8")

    def source(self, origin: dict[str, Any]) -> None:
        self.config("films", source={"origin": origin}, vector_store={"collection": "films"})

    def config(self, name: str, **values: Any) -> None:
        content = {"resources": {key: {"config": value} for key, value in values.items()}}
        self.write(f"configs/{name}.yaml", yaml.safe_dump(content))

    def workspace(self, *entries: dict[str, Any]) -> None:
        self.write("workspace.yaml", yaml.safe_dump({"load_from": list(entries)}))

    @property
    def place(self) -> CodeLocation:
        return code_location(find_pipeline("home_films"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    made = Project(tmp_path / "project")
    folder = str(made.root / "pipelines")
    monkeypatch.setattr(pipelines, "__path__", [*pipelines.__path__, folder])
    monkeypatch.setenv("EMBEDDINGS_PROJECT", str(made.root))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    monkeypatch.setenv("PYTHONPATH", str(CODE_ROOT))  # for a code server
    yield made
    sys.modules.pop("pipelines.home_films", None)


@pytest.mark.parametrize(("entry", "name", "shared"), SELECTED, ids=lambda each: None)
def test_every_way_of_naming_a_pipeline_is_found(
    project: Project, entry: dict[str, Any], name: str, shared: bool
):
    project.workspace(FOREIGN, entry)
    place = project.place
    origin = place.of_job("home_films")
    assert origin.location_name == name
    assert origin.repository_origin.get_label() == f"__repository__@{name}"
    assert place.shared is shared
    code = place.code_of_job("home_films")
    assert (code is None) is (entry is SERVER)
    # What Dagster would load it from, loads it.
    if code and not shared:
        found = code.get_repo_pointer().load_target()
        assert isinstance(found, dg.Definitions)


def test_its_own_location_comes_before_a_shared_one(project: Project):
    project.workspace(SHARED, OWN)
    assert not project.place.shared


def test_definitions_of_another_name_are_found(project: Project):
    project.write("pipelines/home_films.py", MODULE.format(name="everything"))
    code = project.place.code_of_job("home_films")
    assert code
    assert isinstance(code.get_repo_pointer().load_target(), dg.Definitions)


UNREAD = {
    "no YAML": "load_from: [",
    "a mapping of entries": "load_from: {python_module: pipelines.home_films}",
    "a list": "- nothing\n",
    "empty": "",
    "another key": "load_form: []",
    "one name twice": yaml.safe_dump({"load_from": [OWN, OWN]}),
    "no text": "\x80",
}


@pytest.mark.parametrize("kind", UNREAD)
def test_a_workspace_that_cannot_be_read_is_a_sentence(project: Project, kind: str):
    project.write("workspace.yaml", UNREAD[kind])
    with pytest.raises(ConfigurationError) as refused:
        _ = project.place
    sentence = str(refused.value)
    assert sentence.startswith(f"{project.root / 'workspace.yaml'} cannot be read: ")
    assert "\n" not in sentence


def test_no_workspace_is_a_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    pipeline = find_pipeline("home_films")
    monkeypatch.delenv("EMBEDDINGS_PROJECT")
    monkeypatch.setattr("resources.core.paths._IMPORTED_FROM", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"there is no workspace\.yaml here"):
        code_location(pipeline)
    (tmp_path / "workspace.yaml").write_text(yaml.safe_dump({"load_from": [OWN]}))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert code_location(pipeline).of_job("home_films").location_name == "films"


# --- runs


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


def latest() -> DagsterRun:
    with instance() as found:
        return found.get_runs(limit=1)[0]


@pytest.fixture
def works(
    project: Project, mongod_uri: str, static_model: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Project:  # fmt: skip
    """The project over a server, whose address only a variable knows."""
    monkeypatch.setenv("HOME_URI", mongod_uri)
    name = f"home_{secrets.token_hex(6)}"
    project.config(
        "server",
        mongodb={"deployment": {"server": {"uri": {"env": "HOME_URI"}}}, "registry": name},
        vector_store={"database": name},
        embedder={"provider": {"sentence_transformers": {"model": static_model}}},
        batch_store={"url": str(tmp_path / "batches")},
    )
    return project


def ran() -> RunOutcome:
    return run("home_films", ["server.yaml"], reason="a test")


def test_what_is_wrong_with_the_workspace_costs_a_note_and_not_the_run(works: Project):
    works.workspace(FOREIGN)
    outcome = ran()
    (note,) = outcome.notes
    assert f"{works.root / 'workspace.yaml'} names no code location that home_films is in" in note
    assert latest().remote_job_origin is None
    assert latest().status is DagsterRunStatus.SUCCESS


def in_the_ui(context: WorkspaceProcessContext, job: str) -> list[DagsterRun]:
    """A job's runs as its page asks for them: by its name and what its repository is called."""
    request = context.create_request_context()
    (entry,) = request.get_code_location_entries().values()
    assert not entry.load_error, entry.load_error
    assert entry.code_location
    (repository,) = entry.code_location.get_repositories().values()
    assert repository.has_job(job)
    label = repository.get_remote_origin().get_label()
    mine = RunsFilter(job_name=job, tags={".dagster/repository": label})
    with instance() as found:
        runs = list(found.get_runs(mine))
    of_server = repository.get_full_job(job)
    for each in runs:
        # What a run that is launched there gets.
        assert each.remote_job_origin == of_server.get_remote_origin()
        ours, theirs = each.job_code_origin, of_server.get_python_origin()
        assert ours
        assert ours.get_repo_pointer() == theirs.get_repo_pointer()
        assert ours.executable_path == theirs.executable_path
        # And its run config is one of that job's, as it will be when it is executed again.
        plan = entry.code_location.get_execution_plan(
            of_server, each.run_config, step_keys_to_execute=None, known_state=None
        )
        assert len(plan.step_keys_in_plan) == 13
    return runs


@pytest.mark.proof
@pytest.mark.parametrize("entry", [OWN, SHARED], ids=["apart", "together"])
def test_a_server_has_the_run_on_its_job_s_page(works: Project, entry: dict[str, Any]):
    ((kind, named),) = entry.items()
    folder = {"working_directory": str(works.root)}
    works.workspace({kind: named | folder})
    assert not ran().notes
    works.source({"jsonl": {"path": "nowhere"}})
    with pytest.raises(RunFailed, match=r"source_documents: there is no file .*nowhere"):
        ran()
    target = WorkspaceFileTarget(paths=[str(works.root / "workspace.yaml")])
    with instance() as found, WorkspaceProcessContext(found, target) as context:
        runs = in_the_ui(context, "home_films")
    assert [each.status.value for each in runs] == ["FAILURE", "SUCCESS"]
    assert {each.tags["embeddings/reason"] for each in runs} == {"a test"}
    # A secret is a variable's name, there too.
    assert "HOME_URI" in json.dumps(runs[0].run_config)
    assert "mongodb://" not in json.dumps(runs[0].run_config)
