"""Two spaces of a pipeline in the same documents, or in documents of their own: neither meddles."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, ObjectId

from assets.work.opened import Opened
from pipelines.framework.catalog import open_pipeline
from resources.core.errors import ConfigurationError
from resources.core.vectors import from_bson
from resources.registry.pipeline_spaces import Change
from tests.models import build_static_model
from tests.search_node import search_node
from tests.workshop import Run, Workshop

TEXT = "\n\n".join(
    f"Paragraph {n} tells of matter {n}: " + f"word{n} " * (8 + n % 5) for n in range(12)
)
LONG = [
    {"_id": "a", "text": TEXT, "kind": "essay"},
    # One chunk of every chunker: the same text in the same place.
    {"_id": "b", "text": "a short text", "kind": "note"},
]
MODES = ("vector", "text", "hybrid")
IDS: list[Any] = [
    1,
    "1",
    2.5,
    ObjectId(),
    datetime(2026, 1, 2, tzinfo=UTC),
    Decimal128("3.0"),
    {"a": 1},
]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_static_model(tmp_path_factory.mktemp("models") / "other", seed=7))


@pytest.fixture
def place(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    yield from _open(mongod_uri, tmp_path, static_model)


def _open(uri: str, folder: Path, model: str) -> Iterator[Workshop]:
    made = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", model)
    made.configure({"search_index": {"text": {}, "poll_seconds": 0.05}})
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def with_model(model: str, **source: Any) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    resources = {"embedder": {"config": embedder}}
    if source:
        resources["source"] = {"config": source}
    return {"resources": resources}


def chunked(size: int) -> dict[str, Any]:
    return {"chunking": {"recursive": {"size": size, "overlap": 0}}}


def done(run: Run) -> Run:
    assert run.success, run.failures
    return run


def promote(workshop: Workshop, space: str) -> None:
    with open_pipeline(workshop.pipeline) as o:
        assert o.registry.of_pipelines.serve(o.record, Change("promoted", space, by="a test"))


def only_mine(workshop: Workshop, o: Opened) -> set[Any]:
    """Whatever the mode, all documents of the space are found and no others; who they are."""
    mine = {chunk for chunk, _ in o.store.ids()}
    for mode in MODES:
        asked = "a short text that tells of matter paragraph"
        hits = workshop.search(asked, limit=100, mode=mode).hits
        assert {hit.lineage["space"] for hit in hits} == {o.space.id}
        found = {hit.id for hit in hits}
        assert found <= mine
        if mode != "text":
            assert found == mine
    return mine


@pytest.mark.parametrize("engine", ["local", "mongodb"])
def test_chunks_of_another_chunker_are_documents_of_their_own(
    engine: str, tmp_path: Path, mongod_uri: str, static_model: str, other: str
):
    if engine == "local":
        for workshop in _open(mongod_uri, tmp_path, static_model):
            _chunkers(workshop, engine, other)
        return
    with search_node(mongod_uri) as node:
        for workshop in _open(node.uri, tmp_path, static_model):
            _chunkers(workshop, engine, other)


def _chunkers(workshop: Workshop, engine: str, other: str) -> None:
    workshop.configure({"source": chunked(150), "search_index": {"engine": engine}})
    workshop.write(LONG)
    done(workshop.run())
    before = workshop.stored()
    beside = with_model(other, **chunked(400))
    done(workshop.run(config=beside))
    after = workshop.stored()
    # Nothing of the space that serves is touched, not even what both chunkers cut alike.
    assert {name: after[name] for name in before} == before
    assert len([row for row in after.values() if row["source_id"] == "b"]) == 2
    with open_pipeline(workshop.pipeline) as o:
        assert only_mine(workshop, o.serving) == set(before)
        (ready,) = (e for e in o.record.entries() if o.record.state(e.space_id) == "ready")
        assert ready.apart
        second = o.in_space(ready)
        assert {chunk for chunk, _ in second.store.ids()} == set(after) - set(before)
    # A document goes from both, and an edit reaches both.
    workshop.write([{**LONG[0], "text": TEXT.replace("word3", "edited3")}])
    workshop.configure({"vector_store": {"allow_delete": True}})
    done(workshop.run(config=beside))
    rows = workshop.stored().values()
    assert {row["source_id"] for row in rows} == {"a"}
    edited = [row for row in rows if "edited3" in row["text"]]
    assert len({name for row in edited for name in row if name.endswith("_lineage")}) == 2
    assert not [row for row in rows if "word3 " in row["text"]]
    promote(workshop, ready.space_id)
    with open_pipeline(workshop.pipeline) as o:
        mine = only_mine(workshop, o.serving)
    again = done(workshop.run())  # tonight's, with the settings of before
    assert again.embedding_batches["embedded"] == 0
    with open_pipeline(workshop.pipeline) as o:
        assert {chunk for chunk, _ in o.serving.store.ids()} == mine


def test_in_place_each_has_its_path_whatever_the_ids_and_only_its_own_goes(
    place: Workshop, other: str
):
    films = place.client[place.database]["films"]
    films.insert_many([{"_id": name, "text": f"film {name}", "meta": {"by": 1}} for name in IDS])
    films.insert_one({"_id": "of nobody", "title": "no text"})
    place.configure(
        {
            "source": {
                "origin": {
                    "collection": {
                        "database": place.database,
                        "collection": "films",
                        "filter": {"text": {"$exists": True}},
                    }
                },
                "carry": [],
            },
            "vector_store": {"in_place": True, "path": "meta.embedding", "allow_delete": True},
            "search_index": {"filter_fields": []},
        }
    )
    for name in ("database", "collection"):
        place.settings["vector_store"].pop(name)
    done(place.run())
    done(place.run(config=with_model(other)))
    with open_pipeline(place.pipeline) as o:
        (ready,) = (e for e in o.record.entries() if o.record.state(e.space_id) == "ready")
        second = o.in_space(ready)
        assert (o.main.store.count(), second.store.count()) == (len(IDS), len(IDS))
        for row in films.find({"text": {"$exists": True}}):
            assert row["meta"]["by"] == 1
            names = {name for name in row["meta"] if name != "by"}
            assert names == {"embedding", f"embedding__{ready.space_id}"}
            vectors = [from_bson(row["meta"][name]) for name in sorted(names)]
            assert (vectors[0] != vectors[1]).any()
    films.update_one({"_id": 2.5}, {"$unset": {"text": ""}})
    done(place.run())  # the one that serves alone
    row = films.find_one({"_id": 2.5})
    assert row is not None
    assert set(row["meta"]) == {"by", f"embedding__{ready.space_id}"}
    done(place.run(config=with_model(other)))
    assert films.find_one({"_id": 2.5}) == {"_id": 2.5, "meta": {"by": 1}}
    assert films.find_one({"_id": "of nobody"}) == {"_id": "of nobody", "title": "no text"}
    # What reads where a space lies beside is refused as what reads the first.
    settings = {"source": {"origin": {"collection": {
        "database": place.database,
        "collection": "films",
        "filter": {f"meta.embedding__{ready.space_id}": {"$exists": False}},
    }}}}  # fmt: skip
    place.configure(settings)
    with pytest.raises(ConfigurationError, match=f"depends on 'meta.embedding__{ready.space_id}'"):
        place.run()


@pytest.mark.parametrize("layout", ["langchain", "llamaindex"])
def test_a_reader_of_one_vector_a_document_gets_no_second_one(
    place: Workshop, other: str, layout: str
):
    place.write([{"_id": str(n), "text": f"text {n}", "kind": "k"} for n in range(5)])
    place.configure({"vector_store": {"layout": layout}})
    done(place.run())
    before = place.stored()
    wanted = with_model(other)
    refused = place.run(config=wanted)
    assert not refused.success
    assert "`model_change: {mode: replace}`" in refused.failures[0]
    assert "source_documents" not in refused.metadata
    assert place.stored() == before
    change = {"mode": "replace", "allow_replace": True}
    wanted["resources"]["model_change"] = {"config": change}
    done(place.run(config=wanted))
    stored = place.stored()
    assert {frozenset(row) for row in stored.values()} == {frozenset(r) for r in before.values()}


def test_a_deployment_that_takes_no_second_index_says_so_before_anything_is_embedded(
    tmp_path: Path, mongod_uri: str, static_model: str, other: str
):
    with search_node(mongod_uri) as node:
        for workshop in _open(node.uri, tmp_path, static_model):
            workshop.write([{"_id": n, "text": f"text {n}", "kind": "k"} for n in range(5)])
            workshop.configure({"search_index": {"engine": "mongodb"}})
            done(workshop.run())
            node.max_indexes = 2
            refused = workshop.run(config=with_model(other))
            assert not refused.success
            assert "it has 2, " in refused.failures[0]
            assert "nothing is embedded in the space" in refused.failures[0]
            assert refused.search_index, "what serves is finished first"
            with open_pipeline(workshop.pipeline) as o:
                assert o.batches.spaces() == [o.main.space.id]
            node.max_indexes = None
            done(workshop.run(config=with_model(other)))
