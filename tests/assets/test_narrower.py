"""A narrower space of a model that can be cut is made from the batches of the wider one."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.spaces.listing import spaces
from resources.core.vectors import from_bson
from resources.embedders.members import family, of_its_own
from resources.embedders.resource import EmbedderResource
from resources.embedders.voyage import VoyageProvider
from resources.models.cutting import cut
from resources.registry.pipeline_spaces import Change
from tests.providers.voyage import VoyageServer
from tests.workshop import Run, Workshop

WIDE, NARROW = 1024, 256
KEY = "VOYAGE_API_KEY"


@pytest.fixture
def workshop(
    tmp_path: Path,
    mongod_uri: str,
    static_model: str,
    voyage_api: VoyageServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workshop]:
    monkeypatch.setenv(KEY, voyage_api.behaviour.key)
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    use(made, voyage_api, WIDE)
    made.configure({"embedder": {"max_batch_chunks": 6}})
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def use(workshop: Workshop, api: VoyageServer, dimensions: int, **more: object) -> None:
    settings = {"base_url": api.url, "dimensions": dimensions, "api_key": {"env": KEY}, **more}
    workshop.configure({"embedder": {"provider": {"voyage": settings}}})


def documents(count: int) -> list[dict[str, object]]:
    # Some texts stand there twice.
    return [{"_id": n, "text": f"text number {n % 17}", "kind": "k"} for n in range(count)]


def run(workshop: Workshop) -> Run:
    found = workshop.run()
    assert found.success, found.failures
    return found


def documents_asked(api: VoyageServer) -> list[list[str]]:
    """What was embedded to be stored: the gate asks both spaces queries of its own."""
    return [each.texts for each in api.requests if each.options["input_type"] == "document"]


def test_its_vectors_are_the_beginnings_of_the_wider_ones_and_nobody_is_asked(
    workshop: Workshop, voyage_api: VoyageServer
):
    workshop.write(documents(20))
    run(workshop)
    asked = len(documents_asked(voyage_api))
    use(workshop, voyage_api, NARROW)
    made = run(workshop).candidate_space
    assert len(documents_asked(voyage_api)) == asked
    assert (made.get("tokens", 0), made.get("estimated tokens", 0)) == (0, 0)
    assert (made["embedded"], made["vectors cut from wider ones"]) == (0, 17)
    with open_pipeline(workshop.pipeline) as o:
        narrow, wide = o.candidate, o.main
        assert narrow is not None
        for row in workshop.stored().values():
            mine, theirs = narrow.store.lineage(row), wide.store.lineage(row)
            assert mine is not None
            assert theirs is not None
            whole = from_bson(row["embedding"])[None]
            wanted = cut(whole, wide.space, NARROW)[0]
            assert np.array_equal(from_bson(row[narrow.store.path]), wanted)
            assert np.linalg.norm(wanted) == pytest.approx(1)
            for name in ("model", "run", "at", "text_hash"):
                assert mine[name] == theirs[name]
            assert mine["space"] == narrow.space.id
            batch = o.batches.read_batch(narrow.space.id, mine["batch"])
            origin = batch.details["cut_from"]
            assert origin == {"space": wide.space.id, "batch": theirs["batch"]}


def test_a_text_that_no_wide_batch_has_is_embedded(workshop: Workshop, voyage_api: VoyageServer):
    workshop.write(documents(10))
    run(workshop)
    workshop.write([*documents(10), {"_id": 99, "text": "a new one", "kind": "k"}])
    workshop.configure({"model_change": {"keep_serving": False}})
    use(workshop, voyage_api, NARROW)
    made = run(workshop).candidate_space
    assert (made["embedded"], made["vectors cut from wider ones"]) == (1, 10)
    assert documents_asked(voyage_api)[-1] == ["a new one"]


def test_broken_off_it_goes_on_with_what_is_left_and_embeds_what_is_damaged(
    workshop: Workshop, voyage_api: VoyageServer, monkeypatch: pytest.MonkeyPatch
):
    workshop.write(documents(17))
    run(workshop)
    asked = len(documents_asked(voyage_api))
    use(workshop, voyage_api, NARROW)
    # The second of three batches cannot be written.
    left = [2]

    def torn(self: Any, *given: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise OSError("the disk is full")
        return written(self, *given)

    from resources.batch_store.store import BatchStore

    written = BatchStore.write_batch
    with monkeypatch.context() as patch:
        patch.setattr(BatchStore, "write_batch", torn)
        assert not workshop.run().success
    with open_pipeline(workshop.pipeline) as o:
        assert o.candidate is not None
        (name,) = o.batches.batches(o.candidate.space.id)
        there = len(o.batches.texts(o.candidate.space.id, name))
    made = run(workshop).candidate_space
    assert made["vectors cut from wider ones"] == 17 - there
    assert len(documents_asked(voyage_api)) == asked
    # A batch that is damaged between the plan and the cutting is no reason to fail.
    use(workshop, voyage_api, 512)
    gone = BatchStore.read_batch

    def damaged(self: BatchStore, space_id: str, batch: str) -> object:
        if space_id == wide and batch == names[0]:
            (workshop.folder / "batch_store" / "batches" / wide / f"{batch}.parquet").unlink()
        return gone(self, space_id, batch)

    with open_pipeline(workshop.pipeline) as o:
        wide, names = o.main.space.id, o.batches.batches(o.main.space.id)
    with monkeypatch.context() as patch:
        patch.setattr(BatchStore, "read_batch", damaged)
        made = run(workshop).candidate_space
    assert made["embedded"] + made["vectors cut from wider ones"] == 17
    assert made["embedded"] > 0
    assert made["vectors stored"] == 17


CHANGES = [
    {"vector_store": {"dtype": "int8", "rescore": "float32"}},
    {"search_index": {"similarity": "cosine", "exact_below": 5, "max_edges": 32, "text": {}}},
]
"""Other dtype and rescore; other similarity and options of the index."""


def test_another_way_to_store_or_to_search_is_no_other_space(
    workshop: Workshop, voyage_api: VoyageServer
):
    workshop.write(documents(8))
    run(workshop)
    asked = len(documents_asked(voyage_api))
    for settings in CHANGES:
        workshop.configure(settings)
        made = run(workshop)
        assert made.candidate_space["candidate"].startswith("none")
    assert len(documents_asked(voyage_api)) == asked
    with open_pipeline(workshop.pipeline) as o:
        assert [entry.place for entry in o.record.entries()] == [""]
    assert not [name for name in workshop.stored()[3] if "__" in name]


def as_member(workshop: Workshop, api: VoyageServer, model: str, **model_change: object) -> None:
    use(workshop, api, NARROW, model=model)
    workshop.configure({"model_change": model_change})


def test_models_of_one_family_share_a_space_unless_it_is_to_be_embedded_anew(
    workshop: Workshop, voyage_api: VoyageServer
):
    as_member(workshop, voyage_api, "voyage-4-large")
    workshop.write(documents(6))
    run(workshop)
    asked = len(documents_asked(voyage_api))
    # Queries by another member: documents stay as they are.
    as_member(workshop, voyage_api, "voyage-4-lite")
    made = run(workshop)
    assert made.candidate_space["candidate"].startswith("none")
    assert len(documents_asked(voyage_api)) == asked
    answer = workshop.search("text number 3", limit=1)
    assert voyage_api.requests[-1].model == "voyage-4-lite"
    assert answer.hits[0].lineage["model"] == "voyage-4-large"
    said = "documents by voyage-4-large, queries by voyage-4-lite"
    (found,) = spaces(workshop.pipeline).spaces
    assert found.members == said
    with open_pipeline(workshop.pipeline) as o:
        assert o.serving.members() == said
        shared = o.serving.space.id
    as_member(workshop, voyage_api, "voyage-4-lite", re_embed=True)
    made = run(workshop).candidate_space
    assert made["embedded"] == 6
    assert voyage_api.requests[-1].model == "voyage-4-lite"
    with open_pipeline(workshop.pipeline) as o:
        assert o.record.serving == shared
        assert o.candidate is not None
        own = o.candidate.space.id
        assert own.startswith("voyage-4-lite-")
        assert o.registry.of_pipelines.serve(o.record, Change("promoted", own, by="a test"))
    asked = len(documents_asked(voyage_api))
    again = run(workshop)
    assert again.candidate_space["candidate"].startswith("none")
    assert len(documents_asked(voyage_api)) == asked
    assert workshop.search("text number 3", limit=1).space.id == own
    # Who wants the family's space goes on with that.
    as_member(workshop, voyage_api, "voyage-4-large", re_embed=True)
    assert run(workshop).candidate_space["candidate"] == shared


@pytest.mark.parametrize("model", ["voyage-4", "voyage-4-lite"])
def test_a_member_that_the_family_is_called_by_has_a_space_of_its_own_too(model: str):
    embedder = EmbedderResource(provider=VoyageProvider(model=model, api_key="k"))
    own = of_its_own(embedder)
    assert own.space().id != embedder.space().id
    assert (own.facts().model, own.space().dimensions) == (model, 1024)
    assert len(family(embedder)) == 4
    assert family(own) == ()
