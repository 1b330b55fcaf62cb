"""Two servers' models never share a space, unless the configuration says that they are one."""

import pytest

from tests.providers.openai import OpenAIServer, openai_server
from tests.workshop import Workshop

pytestmark = pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)

TEXTS = [{"_id": f"d{n}", "text": f"text {n}"} for n in range(6)]


MODELS = {"m": 16, "vendor/m": 16}


@pytest.fixture
def openai_api():
    with openai_server(models=MODELS) as server:
        yield server


@pytest.fixture
def gateway():
    with openai_server(models=MODELS) as server:
        yield server


@pytest.fixture(autouse=True)
def key(monkeypatch, openai_api):
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)


def uses(workshop: Workshop, server: OpenAIServer, **settings) -> None:
    provider = {"openai": {"model": "m", "dimensions": 16, "base_url": server.url, **settings}}
    workshop.configure({"embedder": {"provider": provider}})


def embedded(workshop: Workshop) -> int:
    """Texts that a run has embedded in the space that serves."""
    run = workshop.run()
    assert run.success, run.failures
    assert "embedded" not in run.candidate_space, "nothing is built beside"
    return run.embedding_batches["embedded"]


def beside(workshop: Workshop) -> int:
    """Texts that a run has embedded in another space, and none in the one that serves."""
    run = workshop.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    return run.candidate_space["embedded"]


def as_stored_before(workshop: Workshop) -> str:
    """Make a store what it was when servers were not told apart; returns its space's id."""
    found = workshop.vectors.find_one()["embedding_lineage"]["space"]
    registry = workshop.client[workshop.database]
    space = registry["embedding_spaces"].find_one({"_id": found})
    assert space["options"].pop("endpoint")
    from resources.core.space import EmbeddingSpace

    earlier = EmbeddingSpace.from_document(space).id
    registry["embedding_spaces"].insert_one({**space, "_id": earlier})
    registry["vector_stores"].update_many({}, {"$set": {"space": earlier}})
    registry["vector_store_claims"].drop()
    workshop.vectors.update_many({}, {"$set": {"embedding_lineage.space": earlier}})
    return earlier


def test_another_server_is_another_space(workshop, openai_api, gateway):
    workshop.write(TEXTS)
    uses(workshop, openai_api)
    assert embedded(workshop) == 6
    assert embedded(workshop) == 0
    uses(workshop, gateway)
    assert beside(workshop) == 6
    assert beside(workshop) == 0
    assert len(workshop.vectors.distinct("embedding_lineage.space")) == 1


def test_unless_the_settings_say_that_they_are_one(workshop, openai_api, gateway):
    workshop.write(TEXTS)
    uses(workshop, openai_api, space="m")
    assert embedded(workshop) == 6
    uses(workshop, gateway, model="vendor/m", space="m")
    assert embedded(workshop) == 0


def test_a_store_from_before_keeps_its_space_for_the_server_it_meets_first(
    workshop, openai_api, gateway
):
    workshop.write(TEXTS)
    uses(workshop, openai_api)
    assert embedded(workshop) == 6
    earlier = as_stored_before(workshop)
    assert embedded(workshop) == 0, "nobody embeds again by upgrading"
    workshop.write([*TEXTS, {"_id": "new", "text": "another"}])
    assert embedded(workshop) == 1
    assert workshop.vectors.distinct("embedding_lineage.space") == [earlier]
    assert workshop.search("another").hits[0].id == "new"
    # Another server is another space from then on, for this store too.
    uses(workshop, gateway)
    assert beside(workshop) == 7
    uses(workshop, openai_api)
    assert embedded(workshop) == 0
    assert workshop.vectors.distinct("embedding_lineage.space") == [earlier]
