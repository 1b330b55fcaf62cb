"""How good searches are: measured on a pipeline's own judged queries, through whole runs."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.framework.catalog import open_pipeline
from tests.workshop import Workshop

WORDS = "sea storm bread forest king lamp glass river snow wolf tower song".split()


def document(number: int) -> dict[str, Any]:
    """A text of a few words, which other texts share in part."""
    some = [WORDS[(number * step + shift) % 12] for step, shift in ((1, 0), (5, 3), (7, number))]
    text = f"{' '.join(some)} number{number}"
    return {"_id": number, "text": text, "kind": "even" if number % 2 == 0 else "odd"}


DOCUMENTS = [document(number) for number in range(40)]
QUERIES = [
    {
        "id": f"q{n}",
        "query": f"{DOCUMENTS[n]['text'].split()[0]} number{n}",
        "relevant": {str(n): 2, str((n + 12) % 40): 1},
    }
    for n in range(0, 30, 2)
] + [
    {"id": "gone", "query": "lamp in the snow of number400", "relevant": {"400": 1, "3": 1}},
    {"id": "nothing", "query": "the price of tea", "relevant": []},
]


def write_queries(workshop: Workshop, queries: list[dict[str, Any]] = QUERIES) -> Path:
    path = workshop.folder / "queries.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in queries), "utf-8")
    return path


@pytest.fixture(scope="module")
def shop(tmp_path_factory, static_model: str, _servers: Any) -> Iterator[Workshop]:
    folder = tmp_path_factory.mktemp("quality")
    name = f"test_{secrets.token_hex(6)}"
    made = Workshop(folder, _servers.uri("mongod"), name, static_model)
    made.write(DOCUMENTS)
    queries = {"jsonl": {"path": str(write_queries(made)), "ids": "integer"}}
    made.configure({"evaluation": {"queries": queries, "segments": ["kind"], "min_queries": 5}})
    yield made
    made.client.drop_database(name)
    made.client.close()


def test_a_run_measures_what_it_has_indexed(shop):
    run = shop.run()
    assert run.success, run.failures
    found = run.search_quality
    print(json.dumps({k: str(v)[:300] for k, v in found.items()}, indent=1))
    print(run.checks)
    with open_pipeline(shop.pipeline) as o:
        print(o.registry.evaluations.latest("films"))
    raise AssertionError
