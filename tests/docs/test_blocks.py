"""YAML and Python of README and docs/: loaded by the real checks; no setting that is none."""

import ast
import dataclasses
import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from assets.work.configured import RESOURCES
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.framework.run_config import resource_values
from pipelines.operations.search import SearchOptions
from resources.core.errors import ConfigurationError
from tests.docs.markdown import Block, Document, documents
from tests.docs.settings import settings_names

DOCUMENTS = documents()
WRITTEN = [document for document in DOCUMENTS if not document.generated]
YAML = [block for document in DOCUMENTS for block in document.blocks("yaml")]
PYTHON = [block for document in DOCUMENTS for block in document.blocks("python")]

THEIRS = ("yours", "acme_embeddings")
"""Packages of the reader's own."""

NO_SETTINGS = {
    "run_monitoring": "of dagster.yaml",
    "chunk": "a field that a chunk carries",
    "working_directory": "of workspace.yaml",
    "pre_filter": "LangChain's",
    "resources": "of a whole run config",
}
"""What looks like a setting in a piece of code, and is somebody else's."""


def _place(block: Block) -> str:
    return block.place


@pytest.mark.parametrize("block", YAML, ids=_place)
def test_yaml_is_what_it_says(block: Block, tmp_path: Path):
    content = yaml.safe_load(block.text)
    if "load_from" in content:
        for entry in content["load_from"]:
            _check_location(entry["python_module"])
        return
    file = tmp_path / "block.yaml"
    file.write_text(block.text, "utf-8")
    base = ["quickstart.yaml"] if "origin" not in block.text else []
    resource_values([*base, file], RESOURCES)


def _check_location(module: str | dict[str, str]) -> None:
    name = module if isinstance(module, str) else module["module_name"]
    if not name.startswith(THEIRS) and name.startswith("pipelines.framework"):
        assert importlib.util.find_spec(name), name


def test_yaml_blocks_are_found():
    assert len(YAML) >= 8
    assert {block.file for block in YAML} >= {
        "configs/products.yaml",
        "configs/handbook.yaml",
        "configs/articles.yaml",
    }


@pytest.mark.parametrize("block", PYTHON, ids=_place)
def test_python_compiles_and_its_imports_resolve(block: Block):
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            for name in node.names:
                assert hasattr(module, name.name), f"{node.module}.{name.name}"
        elif isinstance(node, ast.Import):
            for name in node.names:
                importlib.import_module(name.name)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "EmbeddingPipeline":
            fields = {field.name for field in dataclasses.fields(EmbeddingPipeline)}
            assert {keyword.arg for keyword in node.keywords} <= fields


@pytest.mark.parametrize("document", WRITTEN, ids=lambda document: document.name)
def test_settings_that_are_named_exist(document: Document, tmp_path: Path):
    known = settings_names() | set(RESOURCES) | SearchOptions.__annotations__.keys()
    known |= {field.name for field in dataclasses.fields(EmbeddingPipeline)}
    for code, place in document.code():
        found = re.fullmatch(r"(\w+): (.+)", code)
        if not found or found[1] in NO_SETTINGS:
            continue
        assert found[1] in known, f"{place}: {code}"
        if found[1] in RESOURCES:
            try:
                _check_settings(found[1], code, tmp_path / "inline.yaml")
            except (ConfigurationError, yaml.YAMLError) as error:
                pytest.fail(f"{place}: {code}: {error}")


def _check_settings(resource: str, code: str, file: Path) -> None:
    """`vector_store: {in_place: true}` is a setting with a value that it may have."""
    values = yaml.safe_load(code)[resource]
    file.write_text(yaml.safe_dump({"resources": {resource: {"config": values}}}), "utf-8")
    resource_values([file], RESOURCES)
