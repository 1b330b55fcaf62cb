"""A served pipeline moves to another model of the same width, and back, while clients ask it."""

import random
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.search import open_searcher
from resources.registry.pipeline_spaces import Change
from tests.asking import Client, Truth, asking, by_searcher, over_http
from tests.conftest import Servers
from tests.models import build_static_model
from tests.pipelines.serving.test_command import started
from tests.search_node import search_node
from tests.workshop import Workshop

WORDS = ["anchor", "barley", "candle", "dragon", "engine", "falcon", "garden", "hammer", "island",
         "jacket", "kettle", "ladder", "marble", "needle", "orchard", "pepper", "quarry", "ribbon",
         "saddle", "timber", "uniform", "valley", "walnut", "yellow", "zephyr"]  # fmt: skip
TEXTS, EDITED = 80, 17
MODULE = """\
from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(name="films", configs=["{config}"])
defs = pipeline.definitions()
"""


def corpus(version: int) -> dict[int, str]:
    """Texts by id; in version 1 one of them says what the first query asks for."""
    draw = random.Random(15)
    texts = {n: " ".join(draw.choices(WORDS, k=7)) for n in range(TEXTS)}
    return {**texts, EDITED: f"{QUERIES[0]} again"} if version else texts


QUERIES = [" ".join(random.Random(n).choices(WORDS, k=4)) for n in range(6)]


def write(shop: Workshop, version: int) -> None:
    texts = corpus(version).items()
    shop.write([{"_id": n, "text": text, "kind": f"k{n % 3}"} for n, text in texts])


@pytest.fixture(params=["embedded", "mongod", "search node"])
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, _servers: Servers, static_model: str
) -> Iterator[Workshop]:
    with ExitStack() as stack:
        if request.param == "search node":
            uri = stack.enter_context(search_node(_servers.uri("mongod"))).uri
        else:
            uri = _servers.uri(request.param)
        made = Workshop(tmp_path, uri, f"test_{secrets.token_hex(6)}", static_model)
        made.configure(
            {
                "embedder": {"max_batch_chunks": 10},
                "search_index": {"poll_seconds": 0.05},
                "model_change": {"retire_after_days": 0},
            }
        )
        yield made
        made.client.drop_database(made.database)
        made.client.close()


@pytest.fixture
def other(tmp_path: Path) -> str:
    """Another model of the same width."""
    return str(build_static_model(tmp_path / "other", seed=7))


@contextmanager
def clients(shop: Workshop) -> Iterator[Sequence[Client]]:
    """Two threads with one searcher, and one over the HTTP of a server in another process."""
    project = shop.folder / "project"
    (project / "pipelines").mkdir(parents=True)
    (project / "workspace.yaml").write_text("load_from: []\n", "utf-8")
    config = shop.pipeline.configs[0]
    (project / "pipelines" / "films.py").write_text(MODULE.format(config=config), "utf-8")
    with (
        open_searcher(shop.pipeline) as searcher,
        started(project, "--port", "0") as (_, url),
        asking(
            Client("one thread", by_searcher(searcher), QUERIES, 0.002),
            Client("another thread", by_searcher(searcher), QUERIES[::-1], 0.002),
            Client("over HTTP", over_http(url, shop.name), QUERIES, 0.002),
        ) as asked,
    ):
        yield asked


def answered(asked: Sequence[Client], count: int = 6) -> None:
    for client in asked:
        client.wait_for_more(count)


def switched(asked: Sequence[Client], space: str) -> None:
    for client in asked:
        client.wait_for(space, lambda me: bool(me.answers) and me.answers[-1].space == space)
        client.wait_for_more(len(QUERIES))


def with_model(model: str, **model_change: Any) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    return {
        "resources": {"embedder": {"config": embedder}, "model_change": {"config": model_change}}
    }


def state(shop: Workshop) -> dict[str, str]:
    """Of every space by its id."""
    with open_pipeline(shop.pipeline) as o:
        return {entry.space_id: o.record.state(entry.space_id) for entry in o.record.entries()}


def promote(shop: Workshop, space: str) -> None:
    with open_pipeline(shop.pipeline) as o:
        assert o.registry.of_pipelines.serve(o.record, Change("promoted", space))


def rollback(shop: Workshop) -> None:
    with open_pipeline(shop.pipeline) as o:
        previous = o.record.previous or ""
        assert o.registry.of_pipelines.serve(o.record, Change("rolled back", previous))


@pytest.mark.proof
def test_clients_see_answers_of_one_space_and_then_of_the_other(
    shop: Workshop, other: str, static_model: str
):
    truth = Truth(QUERIES, [corpus(0), corpus(1)])
    write(shop, 0)
    first = shop.run()
    assert first.success, first.failures
    (old,) = state(shop)
    truth.learn(old, static_model)
    with clients(shop) as asked:
        answered(asked)
        beside = shop.run(config=with_model(other))
        assert beside.success, beside.failures
        assert beside.candidate_space["embedded"] == TEXTS
        ((new, told),) = (each for each in state(shop).items() if each[0] != old)
        assert told == "ready"
        truth.learn(new, other)
        assert truth.differ()
        write(shop, 1)
        edited = shop.run(config=with_model(other))
        assert edited.success, edited.failures
        assert edited.embedding_batches["embedded"] == 1
        assert edited.candidate_space["embedded"] == 1
        tonight = shop.run()
        assert tonight.success, tonight.failures
        assert tonight.embedding_batches["embedded"] == 0
        answered(asked)
        promote(shop, new)
        switched(asked, new)
        rollback(shop)
        switched(asked, old)
        promote(shop, new)
        switched(asked, new)
    for client in asked:
        assert client.error is None
        for answer in client.answers:
            truth.check(answer)
        assert client.spaces == [old, new, old, new], client.name
        last = client.answers[-1]
        assert truth.of(new, version=1, query=last.query) == [each[0] for each in last.found]
