"""What Dagster sees of the pipelines; a change of the graph shows in the snapshot's diff."""

import importlib
import subprocess
import sys

import dagster as dg
import pytest

from pipelines.framework.catalog import find_pipeline
from pipelines.framework.names import pipeline_names
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT


def describe(defs: dg.Definitions) -> dict:
    graph = defs.resolve_asset_graph()
    assets = {
        key.to_user_string(): {
            "deps": sorted(dep.to_user_string() for dep in node.parent_keys),
            "kinds": sorted(
                tag.removeprefix("dagster/kind/")
                for tag in node.tags
                if tag.startswith("dagster/kind/")
            ),
            "group": node.group_name,
            "code version": node.code_version,
            "checks": sorted(check.name for check in node.check_keys),
            "described": bool(node.description),
        }
        for key in graph.get_all_asset_keys()
        for node in [graph.get(key)]
    }
    checks = {
        f"{key.asset_key.to_user_string()}:{key.name}": graph.get_check_spec(key).blocking
        for key in graph.asset_check_keys
    }
    return {
        "assets": dict(sorted(assets.items())),
        "blocking checks": sorted(name for name, blocking in checks.items() if blocking),
        "jobs": sorted(job.name for job in defs.jobs or []),
        "schedules": {
            schedule.name: [schedule.cron_schedule, schedule.execution_timezone, schedule.job_name]
            for schedule in defs.schedules or []
        },
        "resources": sorted(defs.resources or {}),
    }


@pytest.mark.parametrize("name", ["quickstart", "airbnb"])
def test_definitions_are_as_recorded(name, snapshot, monkeypatch):
    for secret in ("MONGODB_URI", "VOYAGE_API_KEY"):
        monkeypatch.delenv(secret, raising=False)
    defs = importlib.import_module(f"pipelines.{name}").defs
    dg.Definitions.validate_loadable(defs)
    assert describe(defs) == snapshot


def test_descriptions_are_text_and_no_block_of_code():
    """The Dagster UI reads them as Markdown, where four spaces make one."""
    graph = importlib.import_module("pipelines.quickstart").defs.resolve_asset_graph()
    said = [graph.get(key).description for key in graph.get_all_asset_keys()]
    said += [graph.get_check_spec(key).description for key in graph.asset_check_keys]
    assert len(said) > 10
    lines = [line for each in said if each for line in each.splitlines()]
    assert not [line for line in lines if line.startswith("    ")]


def test_the_pipelines_are_found_by_name():
    assert pipeline_names() == ["airbnb", "quickstart"]
    assert find_pipeline("quickstart") is find_pipeline("pipelines.quickstart")
    with pytest.raises(ConfigurationError, match="no pipeline 'quikstart'; there are: airbnb, q"):
        find_pipeline("quikstart")
    with pytest.raises(ConfigurationError, match="declares no `pipeline"):
        find_pipeline("pipelines.framework.console")


def test_definitions_load_without_heavy_packages():
    heavy = [
        "torch",
        "sentence_transformers",
        "transformers",
        "voyageai",
        "openai",
        "faiss",
        "pandas",
    ]
    code = f"""
import sys, pipelines.quickstart, pipelines.airbnb
loaded = [name for name in {heavy} if name in sys.modules]
sys.exit(f"loaded at import: {{loaded}}" if loaded else 0)
"""
    subprocess.run([sys.executable, "-c", code], cwd=CODE_ROOT, check=True)


def test_importing_pipelines_loads_no_dagster():
    code = """
import sys, pipelines
assert "dagster" not in sys.modules, "loaded at import"
from pipelines import EmbeddingPipeline, search
assert EmbeddingPipeline.__module__ == "pipelines.framework.pipeline"
assert search.__module__ == "pipelines.operations.search.warm"
assert not hasattr(pipelines, "serch")
"""
    subprocess.run([sys.executable, "-c", code], cwd=CODE_ROOT, check=True)


def test_no_dagster_block_in_pyproject():
    # With one, `dagster dev` would ignore workspace.yaml.
    text = (CODE_ROOT / "pyproject.toml").read_text("utf-8")
    assert "\n[tool.dagster]" not in text
    assert "\n[tool.dg]" not in text
