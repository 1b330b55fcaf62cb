"""What an earlier version has left goes on: its space serves, and another is built beside it.

`tests/earlier/left` is what the commit fd141d7 left, the last in which a pipeline had one space:
all documents of its database, and its batch store.
"""

import shutil
from pathlib import Path
from typing import Any

import pytest
from bson import json_util

from pipelines.framework.catalog import open_pipeline
from pipelines.operations import spaces
from tests.earlier.write import DATABASE, DOCUMENTS, FOLDER, REFUSED, settings
from tests.providers.openai import OpenAIServer
from tests.workshop import Workshop

pytestmark = pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)

LEFT = Path(__file__).parents[1] / "earlier" / "left"
OLD = "text-embedding-3-small-16-91646017"
LARGE = {"model": "text-embedding-3-large", "space": "text-embedding-3-large"}
"""Another model, cut to the same width."""


@pytest.fixture
def shop(workshop: Workshop, openai_api: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    openai_api.behaviour.poison = [REFUSED]
    text = (LEFT / "database.json").read_text("utf-8")
    text = text.replace(DATABASE, workshop.database).replace(FOLDER, str(workshop.folder))
    for name, documents in json_util.loads(text).items():
        if documents:
            workshop.client[workshop.database][name].insert_many(documents)
    shutil.copytree(LEFT / "batch_store", workshop.folder / "batch_store")
    workshop.configure(settings(openai_api.url))
    workshop.write(DOCUMENTS)
    return workshop


def with_large(shop: Workshop) -> dict[str, Any]:
    given = shop.settings["embedder"]["provider"]["openai"]
    embedder = {"provider": {"openai": {**given, **LARGE}}}
    return {"resources": {"embedder": {"config": embedder}}}


def test_it_is_searched_before_any_run(shop: Workshop):
    answer = shop.search("text 3 of 3")
    assert answer.space.id == OLD
    assert answer.hits[0].id == 3
    (listed,) = spaces.spaces(shop.pipeline).spaces
    assert (listed.entry.space_id, listed.state, listed.path) == (OLD, "serving", "embedding")


def test_a_run_takes_it_over_and_asks_the_provider_for_nothing(
    shop: Workshop, openai_api: OpenAIServer
):
    before = shop.stored()
    run = shop.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    assert not openai_api.requests
    assert shop.stored() == before
    assert set(shop.quarantine()) == {"refused", "without"}
    found = spaces.spaces(shop.pipeline, history=True)
    (listed,) = found.spaces
    assert (listed.entry.space_id, listed.state, listed.entry.place) == (OLD, "serving", "")
    assert listed.entry.embedder, "any process can embed a query there"
    assert [each.event for each in found.history] == ["first"]


@pytest.mark.parametrize("taken_over", [False, True])
def test_another_model_is_built_beside_it_and_promoted(shop: Workshop, taken_over: bool):
    if taken_over:
        assert shop.run().success
    before = shop.stored()
    beside = shop.run(config=with_large(shop))
    assert beside.success, beside.failures
    assert beside.embedding_batches["embedded"] == 0
    assert beside.candidate_space["embedded"] == 12
    after = shop.stored()
    for name, document in before.items():
        assert {key: after[name][key] for key in document} == document
    assert shop.search("text 3 of 3").space.id == OLD
    with open_pipeline(shop.pipeline) as o:
        (new,) = (e.space_id for e in o.record.entries() if e.space_id != OLD)
    spaces.promote(shop.pipeline, new)
    answer = found(shop, new)
    assert answer.hits[0].id == 3
    spaces.rollback(shop.pipeline)
    assert found(shop, OLD).hits[0].id == 3


def test_settings_that_had_gone_over_before_the_first_run_leave_it_as_it_is(shop: Workshop):
    before, stored = shop.settings["embedder"], shop.stored()
    shop.configure({"embedder": with_large(shop)["resources"]["embedder"]["config"]})
    run = shop.run()
    assert run.success, run.failures
    assert "not written down" in str(run.stored_vectors)
    assert run.candidate_space["embedded"] == 12
    after = shop.stored()
    assert all(after[name]["embedding"] == each["embedding"] for name, each in stored.items())
    shop.settings["embedder"] = before
    assert shop.run().success
    assert found(shop, OLD)


def found(shop: Workshop, space: str) -> Any:
    """An answer to a question that is asked anew: whoever has asked before looks now and then."""
    from pipelines.operations.search import warm

    warm.close()
    answer = shop.search("text 3 of 3")
    assert answer.space.id == space
    return answer
