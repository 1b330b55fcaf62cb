"""A small corpus, and pipelines over it written the way a user writes one: a module and YAML."""

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from click.testing import Result
from typer.testing import CliRunner

from pipelines.cli.app import app
from resources.core.paths import CODE_ROOT

DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "tide", "text": "The tide drags pebbles back into the sea.", "kind": "nature"},
    {"_id": "moth", "text": "A moth circles the porch lamp all night.", "kind": "nature"},
    {"_id": "loaf", "text": "Let the dough rest before baking the loaf.", "kind": "kitchen"},
    {"_id": "soup", "text": "Simmer lentils with cumin for a thick soup.", "kind": "kitchen"},
    {"_id": "bolt", "text": "Tighten the bolt with a hexagonal key.", "kind": "workshop"},
    {"_id": 6, "text": "Sand the oak board along its grain.", "kind": "workshop"},
]
"""Their ids are of two types on purpose."""

MOTH = DOCUMENTS[1]["text"]

SHOP = "cli_pipelines.shop"
"""The pipeline of the fixture `place`."""


def write_jsonl(path: Path, documents: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), "utf-8")
    return path


def write_config(path: Path, **resources: Mapping[str, Any]) -> str:
    """A YAML run config that sets these resources."""
    content = {"resources": {key: {"config": dict(value)} for key, value in resources.items()}}
    path.write_text(yaml.safe_dump(content), "utf-8")
    return str(path)


def corpus_settings(source: Path, model: str, *, database: str) -> dict[str, dict[str, Any]]:
    """A complete pipeline over a JSONL file but for its deployment."""
    return {
        "source": {"origin": {"jsonl": {"path": str(source)}}, "carry": ["kind"]},
        "embedder": {"provider": {"sentence_transformers": {"model": model}}},
        "vector_store": {"database": database, "collection": "documents"},
        "search_index": {"filter_fields": ["kind"]},
    }


def write_pipeline(folder: Path, name: str, configs: list[str], *extra: str) -> Path:
    """A module that declares a pipeline; `extra` are further arguments, as source text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    arguments = ", ".join([f"name={name!r}", f"configs={configs!r}", *extra])
    module = folder / f"{name}.py"
    module.write_text(
        textwrap.dedent(
            f"""\
            import dagster as dg
            from pipelines.framework.pipeline import EmbeddingPipeline

            pipeline = EmbeddingPipeline({arguments})

            defs = pipeline.definitions()
            """
        ),
        "utf-8",
    )
    return module


KEYS = ("MONGODB_URI", "VOYAGE_API_KEY", "OPENAI_API_KEY", "HF_TOKEN")


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a process whose state lies under `home`, with no key but those given."""
    inherited = {name: value for name, value in os.environ.items() if name not in KEYS}
    (home / "dagster").mkdir(parents=True, exist_ok=True)
    (home / "dagster" / "dagster.yaml").write_text("telemetry: {enabled: false}\n", "utf-8")
    return inherited | {
        "DAGSTER_HOME": str(home / "dagster"),
        "EMBEDDINGS_HOME": str(home / "state"),
        "PYTHONPATH": str(CODE_ROOT),
        "HF_HUB_OFFLINE": "1",
        **variables,
    }


def script(name: str) -> str:
    """A command of the environment that runs the tests."""
    return str(Path(sys.executable).with_name(name))


def dagster(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Dagster's command line as a user does, from the project's folder."""
    return subprocess.run(
        [script("dagster"), *arguments],
        cwd=CODE_ROOT,
        env=dict(env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )


@dataclass(frozen=True)
class Place:
    """A folder with the pipeline `shop`, and the Dagster and EMBEDDINGS_HOME that it uses."""

    folder: Path

    def config(self, name: str, **resources: Any) -> str:
        return write_config(self.folder / f"{name}.yaml", **resources)

    @property
    def source(self) -> Path:
        return self.folder / "documents.jsonl"


def embeddings(*arguments: str) -> Result:
    return CliRunner(env={"NO_COLOR": "1"}).invoke(app, arguments)


def succeeds(*arguments: str) -> str:
    result = embeddings(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refuses(*arguments: str) -> str:
    """The one sentence of a command that cannot do what it was asked for."""
    result = embeddings(*arguments)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")
