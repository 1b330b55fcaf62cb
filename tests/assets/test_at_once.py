"""Two spaces of a pipeline worked on at once, by processes of their own; some are killed."""

from datetime import datetime
from functools import partial
from typing import Any

import pytest

from pipelines.framework.catalog import open_pipeline
from resources.registry.pipeline_spaces import Change
from resources.vector_store.store import UNWRITTEN
from tests.assets.test_two_spaces import DOCUMENTS, SMALL, provider, shop, wants_large
from tests.killing import RunningChild, stop_before
from tests.providers.openai import OpenAIServer
from tests.workshop import Workshop

__all__ = ["shop"]

BATCH = "resources.batch_store.store:BatchStore.write_batch"
STORE = "resources.vector_store.writer:VectorWriter.write"
INDEX = "resources.registry.indexes:Indexes.record"


def begun(shop: Workshop, server: OpenAIServer, at: str) -> RunningChild:
    """A run that builds the space of the large model, frozen at its first step of a kind there.

    The serving space is as it should be, so that nothing is written to it before.
    """
    wants_large(shop, server)
    keys = dict.fromkeys(("OPENAI_API_KEY", "ANOTHER_KEY"), server.behaviour.key)
    child = RunningChild(shop, environment=keys, prepare=partial(stop_before, at))
    child.wait_until_frozen()
    return child


def by_the_schedule(shop: Workshop, server: OpenAIServer) -> None:
    """Its settings want the space that serves."""
    shop.configure({"embedder": {"provider": provider(server, SMALL)}})
    run = shop.run()
    assert run.success, run.failures
    assert "embedded" not in run.candidate_space


def of_serving(shop: Workshop) -> dict[Any, dict[str, Any]]:
    """The documents as who searches the space that serves sees them."""
    return {
        name: {field: value for field, value in row.items() if "__" not in field}
        for name, row in shop.stored().items()
        if "embedding" in row
    }


@pytest.mark.proof
def test_a_long_run_that_builds_another_and_the_schedule_s_do_not_undo_one_another(
    shop: Workshop, openai_api: OpenAIServer
):
    child = begun(shop, openai_api, STORE)
    edited = {"_id": 0, "text": "quite another text", "kind": "edited"}
    moved = {**DOCUMENTS[2], "kind": "moved"}
    source = [edited, moved, *DOCUMENTS[3:], {"_id": "new", "text": "a new one", "kind": "k"}]
    shop.write(source)
    by_the_schedule(shop, openai_api)
    served = of_serving(shop)
    texts = {row["_id"]: (row["text"], row["kind"]) for row in source}
    assert {name: (row["text"], row["kind"]) for name, row in served.items()} == texts
    child.thaw()
    success, failures = child.result()
    assert success, failures
    assert of_serving(shop) == served, "what was read before the edit is written after it"
    wants_large(shop, openai_api)
    run = shop.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    assert (run.candidate_space["embedded"], run.candidate_space["deleted"]) == (2, 1)
    assert run.candidate_space["complete"]
    assert of_serving(shop) == served
    after = shop.stored()
    assert after.keys() == texts.keys()
    at = f"embedding__{run.candidate_space['candidate']}_lineage"
    for row in after.values():
        assert row[at]["text_hash"] == row["embedding_lineage"]["text_hash"]
        # Where the two differed when it was written, the serving space's are there.
        assert row[at]["fields_hash"] in (row["embedding_lineage"]["fields_hash"], UNWRITTEN)
    again = shop.run()
    assert (
        again.candidate_space["vectors written"] == again.candidate_space["fields refreshed"] == 0
    )


@pytest.mark.proof
@pytest.mark.parametrize("at", [BATCH, STORE, INDEX], ids=["batch", "store", "index"])
def test_killed_while_another_space_is_built_it_goes_on(
    shop: Workshop, openai_api: OpenAIServer, at: str
):
    served = of_serving(shop)
    child = begun(shop, openai_api, at)
    child.kill()
    leases = shop.client[shop.database]["embedding_leases"]
    leases.update_many({}, {"$set": {"expires_at": datetime(2000, 1, 1)}})
    assert of_serving(shop) == served
    run = shop.run()
    assert run.success, run.failures
    assert run.candidate_space["complete"]
    assert run.candidate_space["vectors stored"] == len(DOCUMENTS)
    assert of_serving(shop) == served
    paid_again = run.candidate_space["embedded"]
    assert paid_again == (len(DOCUMENTS) if at == BATCH else 0), "what was in flight, and no more"


def test_what_changed_while_the_serving_space_is_left_as_it_is_is_written_once_the_other_serves(
    shop: Workshop, openai_api: OpenAIServer
):
    served = of_serving(shop)
    edited = {"_id": 0, "text": "quite another text", "kind": "edited"}
    shop.write([edited, {**DOCUMENTS[1], "kind": "moved"}, *DOCUMENTS[2:]])
    wants_large(shop, openai_api, keep_serving=False)
    run = shop.run()
    assert run.success, run.failures
    assert run.candidate_space["complete"]
    assert of_serving(shop) == served, "text and fields too are as the serving vector is"
    idle = shop.run().candidate_space
    assert idle["vectors written"] == idle["fields refreshed"] == 0
    with open_pipeline(shop.pipeline) as o:
        space = run.candidate_space["candidate"]
        assert o.registry.of_pipelines.serve(o.record, Change("promoted", space))
    tonight = shop.run()
    assert tonight.success, tonight.failures
    assert tonight.embedding_batches["embedded"] == 0
    assert tonight.stored_vectors["fields refreshed"] == 2
    after = shop.stored()
    assert (after[0]["text"], after[0]["kind"]) == ("quite another text", "edited")
    assert after[1]["kind"] == "moved"
    assert shop.run().stored_vectors["fields refreshed"] == 0
