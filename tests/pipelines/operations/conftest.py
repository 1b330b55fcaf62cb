"""A project with pipelines of every kind that a lead looks at: well, dead, broken, asleep, …"""

import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymongo
import pytest

import pipelines
from pipelines.framework import execution
from resources.mongodb import embedded
from tests.pipelines.helpers import KEYS, write_config, write_jsonl

MODULE = """from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(name={name!r}, configs=[{config!r}])
defs = pipeline.definitions()
"""
DEAD = "mongodb://127.0.0.1:1/?directConnection=true"


@dataclass
class Town:
    """A project's folder, and the deployment of its pipelines."""

    folder: Path
    uri: str
    database: str
    model: str
    client: pymongo.MongoClient[dict[str, Any]]

    def add_dead(self, name: str) -> str:
        """A pipeline whose deployment is not there, which takes half a second to find out."""
        server = {"deployment": {"server": {"uri": DEAD}}, "timeout_seconds": 0.5}
        return self.add(name, mongodb=server)

    def add(self, name: str, **more: dict[str, Any]) -> str:
        """A pipeline over texts of its own."""
        source = self.write(name, [{"_id": "a", "text": f"{name} by the sea"}])
        settings: dict[str, Any] = {
            "source": {"origin": {"jsonl": {"path": str(source)}}, "carry": ["kind"]},
            "embedder": {"provider": {"sentence_transformers": {"model": self.model}}},
            "mongodb": {
                "deployment": {"server": {"uri": self.uri}},
                "registry": self.database,
            },
            "vector_store": {"database": self.database, "collection": name},
        }
        config = write_config(self.folder / f"{name}.yaml", **(settings | more))
        self.module(name, MODULE.format(name=name, config=config))
        return name

    def module(self, name: str, text: str) -> None:
        (self.folder / "pipelines" / f"{name}.py").write_text(text, "utf-8")
        sys.modules.pop(f"pipelines.{name}", None)

    def write(self, name: str, documents: list[dict[str, Any]]) -> Path:
        return write_jsonl(self.folder / f"{name}.jsonl", documents)

    def config(self, name: str, **resources: dict[str, Any]) -> str:
        return write_config(self.folder / f"{name}.yaml", **resources)


@pytest.fixture(scope="package")
def town(
    tmp_path_factory: pytest.TempPathFactory, static_model: str, _servers: Any
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    (folder / "pipelines").mkdir()
    (folder / "workspace.yaml").write_text("load_from: []\n", "utf-8")
    uri, database = _servers.uri("mongod"), f"test_{secrets.token_hex(6)}"
    client: pymongo.MongoClient[dict[str, Any]] = pymongo.MongoClient(uri)
    with pytest.MonkeyPatch.context() as patch:
        # Ours keep their modules; the checkout's own pipelines are no part of this project.
        patch.setattr("pipelines.framework.names.OURS", ("quickstart", "airbnb", *_ours()))
        patch.setattr(pipelines, "__path__", [*pipelines.__path__, str(folder / "pipelines")])
        patch.setenv("EMBEDDINGS_PROJECT", str(folder))
        patch.setenv("EMBEDDINGS_HOME", str(folder / "state"))
        patch.setenv("DAGSTER_HOME", str(folder / "state" / "dagster"))
        for name in KEYS:
            patch.delenv(name, raising=False)
        found = Town(folder, uri, database, static_model, client)
        found.add("films")
        found.write("films", [{"_id": n, "text": f"film {n} at night"} for n in range(6)])
        execution.run("films")
        yield found
        embedded.stop(folder / "state" / "mongodb")
    for name in list(sys.modules):
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
            vars(pipelines).pop(name.rpartition(".")[2], None)
    client.drop_database(database)
    client.close()


def _ours() -> tuple[str, ...]:
    from pipelines.framework.names import OURS

    return OURS
