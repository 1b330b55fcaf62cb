"""What follows a pipeline is out of date exactly when the pipeline has changed something."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from tests.workshop import Workshop, shared_instance

DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 7}", "kind": f"k{n % 3}"} for n in range(8)]
FRESH, STALE = StaleStatus.FRESH, StaleStatus.STALE


@pytest.fixture
def shop(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    name = f"fresh_{secrets.token_hex(4)}"
    made = Workshop(tmp_path, mongod_uri, name, static_model, name=name)
    made.write(DOCUMENTS)
    yield made
    made.client.drop_database(name)
    made.client.close()


def followed(shop: Workshop) -> dg.Definitions:
    """The pipeline, with an asset of somebody else's below its index."""

    @dg.asset(name=f"{shop.name}_page", deps=[dg.AssetKey([shop.name, "search_index"])])
    def page() -> None: ...

    return dg.Definitions.merge(shop.pipeline.definitions(), dg.Definitions(assets=[page]))


def follow(shop: Workshop) -> None:
    job = followed(shop).resolve_implicit_global_asset_job_def()
    page = dg.AssetKey([f"{shop.name}_page"])
    assert job.execute_in_process(asset_selection=[page], instance=shared_instance()).success


def states(shop: Workshop) -> dict[str, StaleStatus]:
    graph, instance = followed(shop).resolve_asset_graph(), shared_instance()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    names = ("source_documents", "embedding_batches", "stored_vectors", "search_index")
    keys = {name: dg.AssetKey([shop.name, name]) for name in names}
    keys["page"] = dg.AssetKey([f"{shop.name}_page"])
    return {name: resolver.get_status(key) for name, key in keys.items()}


def versions(shop: Workshop, *assets: str) -> dict[str, Any]:
    found = {}
    for asset in assets or ("source_documents", "embedding_batches", "stored_vectors"):
        event = shared_instance().get_latest_materialization_event(dg.AssetKey([shop.name, asset]))
        assert event
        assert event.asset_materialization
        found[asset] = (event.asset_materialization.tags or {})["dagster/data_version"]
    return found


def test_a_run_that_changes_nothing_leaves_what_follows_fresh(shop: Workshop):
    assert shop.run().success
    follow(shop)
    assert set(states(shop).values()) == {FRESH}
    before = versions(shop)
    assert shop.run().success
    assert versions(shop) == before
    assert set(states(shop).values()) == {FRESH}
    shop.write(list(reversed(DOCUMENTS)))
    assert shop.run().success
    assert versions(shop) == before, "the order of a source is no change of it"
    shop.write([*DOCUMENTS[1:], {"_id": 0, "text": "another text"}])
    assert shop.run().success
    assert {name: each == STALE for name, each in states(shop).items()} == {
        "source_documents": False,
        "embedding_batches": False,
        "stored_vectors": False,
        "search_index": False,
        "page": True,
    }
    assert not set(versions(shop).values()) & set(before.values())


def test_what_was_planned_and_not_done_is_to_be_done(shop: Workshop):
    assert shop.run().success
    shop.write([*DOCUMENTS, {"_id": "new", "text": "one more"}])
    assert shop.run("source_documents").success
    assert states(shop)["embedding_batches"] == STALE
    assert shop.run("embedding_batches", "stored_vectors", "search_index").success
    assert states(shop)["embedding_batches"] == FRESH


def test_a_field_carried_along_is_a_change_too(shop: Workshop):
    assert shop.run().success
    before = versions(shop)
    shop.write([{**DOCUMENTS[0], "kind": "another"}, *DOCUMENTS[1:]])
    assert shop.run().success
    after = versions(shop)
    assert all(after[name] != before[name] for name in ("source_documents", "stored_vectors"))
