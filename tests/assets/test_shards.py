"""A pipeline in shards, run by run: its plan, its shards in whatever order, its index."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.framework.catalog import open_pipeline
from pipelines.framework.sharding import index_job, shards_job
from resources.core.shards import shard_names, shard_of
from tests.workshop import Run, Workshop

DOCUMENTS = [{"_id": f"d{n}", "text": f"text number {n % 5}", "kind": "k"} for n in range(8)]
NAMES = shard_names(2)


@pytest.fixture
def shop(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    name = f"shards_{secrets.token_hex(4)}"
    made = Workshop(tmp_path, mongod_uri, name, static_model, name=name, shards=2)
    made.write(DOCUMENTS)
    yield made
    made.client.drop_database(name)
    made.client.close()


def carry_out(shop: Workshop, name: str) -> Run:
    return shop.run(job=shards_job(shop.name), shard=name)


def index(shop: Workshop) -> Run:
    return shop.run(job=index_job(shop.name))


def embedded(shop: Workshop) -> int:
    """Texts that were ever paid for."""
    with open_pipeline(shop.pipeline) as o:
        return sum(row.texts for row in o.registry.ledger.spend())


def test_a_plan_its_shards_and_its_index(shop):
    planned = shop.run()
    assert planned.success, planned.failures
    assert list(planned.metadata) == ["source_documents"]
    work = planned.source_documents["parts of the plan by shard"]
    assert list(work) == NAMES
    assert min(work.values()) > 0
    assert (planned.source_documents["to embed"], planned.source_documents["new"]) == (5, 8)
    early = index(shop)
    assert early.failures == [
        f"the plan {planned.source_documents['plan']} is not carried out by 2 of 2 shards of "
        f"{shop.name}, and the index stays as it is; materialize {shop.name}/embedding_batches and "
        f"{shop.name}/stored_vectors first, of 0-of-2, 1-of-2"
    ]

    first = carry_out(shop, NAMES[1])
    assert first.success, first.failures
    mine = [row["_id"] for row in DOCUMENTS if shard_of(row["_id"], 2) == 1]
    assert set(shop.stored()) == set(mine)
    assert first.stored_vectors["dagster/row_count"] == len(mine)
    assert all(first.checks.values())
    assert {*first.checks} >= {"batches_are_sound", "one_space", "all_stored"}
    assert index(shop).failures[0].endswith("first, of 0-of-2")

    second = carry_out(shop, NAMES[0])
    assert second.success, second.failures
    last = index(shop)
    assert last.success, last.failures
    assert last.search_index["plan"] == planned.source_documents["plan"]
    assert last.checks["few_in_quarantine"]
    assert last.checks["index_is_complete"]
    assert last.search_index["vectors indexed"] == 8
    assert embedded(shop) == 5, "texts that both shards need are embedded once"
    assert shop.search("text number 3").hits[0].text == "text number 3"
