"""Which pipelines are found by name, in a project whose `pipelines/` lies apart from ours."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipelines
from pipelines.framework.catalog import find_pipeline
from pipelines.framework.modules import declared
from pipelines.framework.names import pipeline_names
from pipelines.operations.search import search

IMPORT = "from pipelines import EmbeddingPipeline\n"
MADE = "EmbeddingPipeline(name='films', configs=['quickstart.yaml'])"
CHECKOUT = {"airbnb", "quickstart"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's `pipelines/`."""
    found = tmp_path / "pipelines"
    found.mkdir()
    monkeypatch.setattr(pipelines, "__path__", [*pipelines.__path__, str(found)])
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules), dict(vars(pipelines))
    yield found
    for name in set(sys.modules) - before[0]:
        if getattr(sys.modules[name], "__file__", "").startswith(str(tmp_path)):
            del sys.modules[name]
    for name in set(vars(pipelines)) - set(before[1]):
        delattr(pipelines, name)


@pytest.mark.parametrize(
    "source",
    [
        f"pipeline = {MADE}",
        f"pipeline: EmbeddingPipeline = {MADE}",
        f"pipeline = (\n    {MADE}\n)",
        f"def make():\n    return {MADE}\n\npipeline = make()",
        f"first, pipeline = 1, {MADE}",
        f"if True:\n    pipeline = {MADE}",
        f"films = {MADE}\npipeline = films",
        "from shared import films as pipeline",
        "from shared import *",
        f"# -*- coding: latin-1 -*-\nname = 'Amélie'\npipeline = {MADE}",
    ],
)
@pytest.mark.parametrize("file", ["films.py", "films/__init__.py"])
def test_however_it_is_declared(folder: Path, source: str, file: str):
    shared = f"{IMPORT}films = pipeline = {MADE}\n__all__ = ['films', 'pipeline']\n"
    (folder.parent / "shared.py").write_text(shared, "utf-8")
    head, _, rest = source.partition("\n") if source.startswith("#") else ("", "", source)
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{head}\n{IMPORT}{rest}\n", "latin-1")
    assert set(pipeline_names()) == CHECKOUT | {"films"}
    assert {(found.name, found.fault) for found in declared()} == {
        (name, "") for name in CHECKOUT | {"films"}
    }
    assert find_pipeline("films").name == "films"


@pytest.mark.parametrize("name", ["search", "audit", "catalog", "lineage", "execution", "init"])
def test_a_name_that_modules_of_ours_have_too(folder: Path, name: str):
    (folder / f"{name}.py").write_text(f"{IMPORT}pipeline = {MADE}\n", "utf-8")
    assert name in pipeline_names()
    module = sys.modules[type(find_pipeline(name)).__module__]
    assert module.__name__ == "pipelines.framework.pipeline"
    assert search.__module__ == "pipelines.operations.search.warm"


def test_what_declares_no_pipeline_is_not_imported(folder: Path):
    fails = "raise AssertionError('imported')\n"
    for name, source in {
        "tools": f"def make():\n    pipeline = 1\n    return pipeline\n{fails}",
        "words": f"'''\npipeline = EmbeddingPipeline(\n'''\nprint(pipeline)\n{fails}",
        "attribute": f"import shared\nshared.pipeline = 1\n{fails}",
    }.items():
        (folder / f"{name}.py").write_text(source, "utf-8")
    (folder / "data").mkdir()
    assert set(pipeline_names()) == CHECKOUT
    assert {found.name for found in declared()} == CHECKOUT
    # of another kind
    (folder / "number.py").write_text("pipeline = 1\n", "utf-8")
    assert {found.name for found in declared()} == CHECKOUT


def test_a_broken_one_is_listed_with_its_fault(folder: Path):
    for name, source in {
        "bracket": "pipeline = (\n",
        "gone": f"import nowhere\npipeline = {MADE}\n",
        "leaves": f"pipeline = {MADE}\nraise SystemExit(3)\n",
        "sound": f"pipeline = {MADE}\n",
        "unset": "pipeline = EmbeddingPipeline(name='unset', configs=['no.yaml'])\n"
        "defs = pipeline.definitions()\n",
    }.items():
        (folder / f"{name}.py").write_text(f"{IMPORT}{source}", "utf-8")
    (folder / "framework.py").write_text(f"{IMPORT}pipeline = {MADE}\n", "utf-8")
    faults = {found.name: found.fault for found in declared() if found.name not in CHECKOUT}
    assert faults.pop("sound") == ""
    assert faults.pop("bracket").startswith("SyntaxError: '(' was never closed")
    assert faults.pop("gone") == "ModuleNotFoundError: No module named 'nowhere'"
    assert faults.pop("leaves") == "SystemExit: 3"
    assert faults.pop("unset").startswith("there is no run config no.yaml, neither here nor in ")
    assert faults == {"framework": "a module of ours has this name; give it another"}
