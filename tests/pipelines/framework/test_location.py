"""Many pipelines in one code location: the same definitions as one location for each."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

import pipelines
from assets.about import ASSETS, CANDIDATE
from pipelines.framework.catalog import find_pipeline
from pipelines.framework.location import location, resource_prefix
from resources.core.markdown import unescaped
from resources.core.paths import CODE_ROOT

OURS = len([*ASSETS, CANDIDATE])

MODULE = """from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(name={name!r}, configs=[{config!r}], schedule="0 3 * * *")
defs = pipeline.definitions()
"""


class Folder:
    """A folder of pipelines that the package finds beside its own."""

    def __init__(self, path: Path, static_model: str) -> None:
        self.path, self.model = path, static_model

    def add(self, module: str, resources: dict[str, Any] | None = None, name: str = "") -> None:
        values: dict[str, Any] = {
            "source": {"origin": {"texts": {"documents": ["a", "b"]}}},
            "embedder": {"provider": {"sentence_transformers": {"model": self.model}}},
            "vector_store": {"database": "many", "collection": module},
        }
        for key, more in (resources or {}).items():
            values[key] = values.get(key, {}) | more
        text = yaml.safe_dump({"resources": {key: {"config": v} for key, v in values.items()}})
        config = self.path / f"{module}.yaml"
        config.write_text(text, "utf-8")
        self.write(module, MODULE.format(name=name or module, config=str(config)))

    def write(self, module: str, text: str) -> None:
        (self.path / f"{module}.py").write_text(text, "utf-8")


@pytest.fixture
def folder(tmp_path: Path, static_model: str, monkeypatch) -> Iterator[Folder]:
    monkeypatch.setattr(pipelines, "__path__", [*pipelines.__path__, str(tmp_path)])
    yield Folder(tmp_path, static_model)
    for name in [name for name in sys.modules if name.startswith("pipelines.loc_")]:
        del sys.modules[name]


def described(defs: dg.Definitions) -> dict[str, Any]:
    """What a person sees of definitions: not the keys of their resources."""
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    return {
        "assets": {
            key.to_user_string(): (
                graph.get(key).group_name,
                graph.get(key).description,
                sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
                sorted(graph.get(key).kinds),
            )
            for key in graph.get_all_asset_keys()
        },
        "checks": sorted(str(key) for key in graph.asset_check_keys),
        "jobs": sorted(
            job.name for job in repository.get_all_jobs() if not job.name.startswith("__")
        ),
        "schedules": {each.name: each.cron_schedule for each in repository.schedule_defs},
    }


def test_both_ways_expose_the_same(folder: Folder):
    folder.add("loc_one")
    folder.add("loc_two", {"search_index": {"similarity": "cosine"}})
    together = described(location(["loc_one", "loc_two"]))
    apart = [described(find_pipeline(name).definitions()) for name in ("loc_one", "loc_two")]
    assert together["assets"] == {**apart[0]["assets"], **apart[1]["assets"]}
    assert together["checks"] == sorted([*apart[0]["checks"], *apart[1]["checks"]])
    assert together["jobs"] == sorted([*apart[0]["jobs"], *apart[1]["jobs"]])
    assert together["schedules"] == {**apart[0]["schedules"], **apart[1]["schedules"]}
    assert len(together["assets"]) == 2 * OURS
    assert len(together["checks"]) == 24


def test_pipelines_of_a_shared_location_meet_in_their_source(folder: Folder):
    source = {"origin": {"csv": {"path": "data/größe x/*.csv"}}}
    folder.add("loc_one", {"source": source})
    folder.add("loc_two", {"source": {**source, "carry": ["year"]}})
    found = described(location(["loc_one", "loc_two"]))
    assert len(found["assets"]) == 2 * OURS + 1
    names = ("loc_one", "loc_two")
    (one,), (two,) = (found["assets"][f"{name}/source_documents"][2] for name in names)
    assert one == two
    assert one.startswith("data/gr_e_x/_.csv-")


def test_a_run_in_a_shared_location_uses_its_own_resources(
    folder: Folder, mongod_uri: str, tmp_path: Path
):
    shared = {
        "mongodb": {"deployment": {"server": {"uri": mongod_uri}}, "registry": "loc_registry"},
        "batch_store": {"url": str(tmp_path / "batches")},
    }
    for module in ("loc_left", "loc_right"):
        folder.add(module, shared | {"vector_store": {"path": module}})
    defs = location(["loc_left", "loc_right"])
    more = {"origin": {"texts": {"documents": ["a", "b", "c"]}}}
    run_config = {"resources": {resource_prefix("loc_left") + "source": {"config": more}}}
    done = defs.resolve_job_def("loc_left").execute_in_process(run_config=run_config)
    (planned,) = [
        event.step_materialization_data.materialization
        for event in done.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["loc_left", "source_documents"])
    ]
    assert planned.metadata["source documents"].value == 3, (
        "an override reaches the pipeline it is for"
    )
    done = defs.resolve_job_def("loc_right").execute_in_process()
    written = {
        event.asset_key.path[0]: event.step_materialization_data.materialization.metadata
        for event in done.get_asset_materialization_events()
        if event.asset_key and event.asset_key.path[-1] == "stored_vectors"
    }
    assert written["loc_right"]["lineage at"].value == "loc_right_lineage"
    assert written["loc_right"]["vectors stored"].value == 2


BROKEN = {
    "yaml": ("similarty", "loc_bad.yaml, line 9: resources.search_index.config: unknown key"),
    "syntax": ("", "SyntaxError"),
    "missing file": ("", "there is no run config nowhere.yaml"),
    "twice": ("", "it names its pipeline 'loc_fine', as pipelines.loc_fine does"),
    "no pipeline": ("", "it declares no `pipeline = EmbeddingPipeline(…)`"),
    "raises": ("", "ZeroDivisionError: division by zero"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_pipeline_is_shown_and_the_others_load(folder: Folder, caplog, how: str):
    folder.add("loc_fine")
    words = BROKEN[how][1]
    match how:
        case "yaml":
            folder.add("loc_bad", {"search_index": {"similarty": "cosine"}})
        case "syntax":
            folder.write("loc_bad", "pipeline = EmbeddingPipeline(\n")
        case "missing file":
            folder.write("loc_bad", MODULE.format(name="loc_bad", config="nowhere.yaml"))
        case "twice":
            folder.add("loc_bad", name="loc_fine")
        case "no pipeline":
            folder.write("loc_bad", "pipeline = 7\n")
        case "raises":
            folder.write("loc_bad", "1 / 0\n")
    with caplog.at_level("ERROR", logger="dagster"):
        found = location(["loc_bad", "loc_fine"] if how != "twice" else ["loc_fine", "loc_bad"])
    assert {"loc_fine"} <= {key.path[0] for key in found.resolve_all_asset_keys()}
    graph = found.get_repository_def().asset_graph
    shown = graph.get(dg.AssetKey(["loc_bad", "cannot_be_loaded"]))
    assert words in unescaped(shown.description or "")
    assert "loc_bad.py" in unescaped(shown.description or "")
    assert words.split(": ")[0] in caplog.text


@pytest.mark.slow
def test_workspace_yaml_alone_chooses(tmp_path: Path):
    workspace = tmp_path / "workspace.yaml"
    module = {"module_name": "pipelines.framework.location", "working_directory": str(CODE_ROOT)}
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_module": module}]}), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "job", "list", "-w", str(workspace)],
        cwd=CODE_ROOT, check=True, capture_output=True, text=True,
        env={**os.environ, "DAGSTER_HOME": str(tmp_path)},
    )  # fmt: skip
    assert {"Job: airbnb", "Job: quickstart"} <= set(done.stdout.splitlines())
