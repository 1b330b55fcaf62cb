"""A pipeline that has run, with judged queries, and another model to compare it with."""

import json
import secrets
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests import models
from tests.conftest import Servers
from tests.pipelines.helpers import write_config
from tests.providers.server import ProviderServer
from tests.workshop import Workshop

FIRST = ["tide", "moth", "loaf", "soup", "bolt", "oak"]
SECOND = ["sea", "lamp", "dough", "cumin", "key", "board", "grain", "night", "stone", "river"]
DOCUMENTS: list[dict[str, Any]] = [
    {"_id": number, "text": f"The {first} of the {second}.", "kind": first}
    for number, (first, second) in enumerate(product(FIRST, SECOND))
]
JUDGED = DOCUMENTS[::3]


def write_queries(path: Path) -> Path:
    """Of every third document: one that only its words lead to, and one with a filter."""
    lines: list[dict[str, Any]] = []
    for document in JUDGED:
        first, second = document["text"].removesuffix(".").split()[1::3]
        query = {"id": f"q{document['_id']}", "query": f"{second} {first}"}
        lines.append({**query, "relevant": [document["_id"]], "filter": {"kind": first}})
    lines.append({"id": "nothing", "query": "what nobody knows", "relevant": []})
    # Ids of a JSON object are texts, so the grades of numbers stand in lists.
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


@pytest.fixture(scope="module")
def films(
    tmp_path_factory: pytest.TempPathFactory, _servers: Servers, static_model: str
) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("evaluated")
    made = Workshop(folder, _servers.uri("mongod"), f"test_{secrets.token_hex(6)}", static_model)
    made.write(DOCUMENTS)
    path = write_queries(folder / "queries.jsonl")
    made.configure({"evaluation": {"queries": {"jsonl": {"path": str(path)}}}})
    run = made.run()
    assert run.success, run.failures
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.fixture(scope="module")
def other(films: Workshop) -> str:
    """A file that chooses a model of 32 dimensions."""
    model = models.build_static_model(films.folder / "other", dimensions=32, seed=3)
    provider = {"sentence_transformers": {"model": str(model)}}
    return write_config(films.folder / "other.yaml", embedder={"provider": provider})


@pytest.fixture(scope="module")
def chunked(films: Workshop) -> str:
    """A file that cuts documents into words."""
    recursive = {"size": 8, "overlap": 0}
    return write_config(
        films.folder / "chunked.yaml", source={"chunking": {"recursive": recursive}}
    )


@pytest.fixture
def shop(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    """A pipeline that has never run, with judged queries."""
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write(DOCUMENTS)
    path = write_queries(tmp_path / "queries.jsonl")
    made.configure({"evaluation": {"queries": {"jsonl": {"path": str(path)}}}})
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.fixture
def paid(shop: Workshop, openai_api: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A candidate that costs something, ten texts a batch, one request at a time."""
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    return write_paid(shop, openai_api)


def write_paid(shop: Workshop, server: ProviderServer, **settings: object) -> str:
    """A file that chooses a model of this server."""
    openai = {"base_url": server.url, "dimensions": 64, "concurrency": 1, "attempts": 1, **settings}
    name = f"paid-{secrets.token_hex(2)}.yaml"
    embedder = {"provider": {"openai": openai}, "max_batch_chunks": 10}
    return write_config(shop.folder / name, embedder=embedder)
