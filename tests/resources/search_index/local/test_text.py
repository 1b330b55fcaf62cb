"""Full text beside the vectors of a local index, which follows a real store."""

import gc
import math
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk
from resources.core.errors import QueryRefused
from resources.core.lineage import Lineage
from resources.core.space import EmbeddingSpace
from resources.registry.registry import Registry
from resources.search_index.declaration import IndexDeclaration, TextDeclaration
from resources.search_index.local import versions
from resources.search_index.local.engine import LocalEngine
from resources.search_index.local.served import ServedLocally
from resources.search_index.local.texts import Texts
from resources.search_index.query import Hit, Query
from resources.sources.inline import TextsOrigin
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.writer import VectorWriter

SPACE = EmbeddingSpace("p", "model", "", 8, "", normalized=True)
SOURCE = SourceResource(origin=TextsOrigin(documents=["x"]), carry=["kind", "title", "parts"])
AT = datetime(2026, 11, 26, tzinfo=UTC)
WORDS = ["the", "cat", "sat", "on", "mat", "élan", "running", "東京", "都は", "大阪"]
SETTINGS: dict[str, Any] = {
    "engine": "local",
    "similarity": "cosine",
    "filter_fields": ["kind"],
    "exact_below": 3,  # so that graphs and their merges are met soon
}


def vector(seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).normal(size=8)
    return (found / np.linalg.norm(found)).astype(np.float32)


@dataclass
class Bench:
    """A store and the engine over it."""

    database: pymongo.database.Database
    folder: str
    collection: str = field(default_factory=lambda: f"c{secrets.token_hex(4)}")
    writes: int = 0

    def __post_init__(self) -> None:
        self.registry = Registry(self.database.client, self.database.name)
        resource = VectorStoreResource(database=self.database.name, collection=self.collection)
        self.store = resource.open(
            self.database.client, SOURCE, SPACE, "films", scale_of=lambda _: None
        )
        self.store.prepare()

    def put(self, texts: dict[Any, str], fields: dict[str, Any] | None = None) -> None:
        rows = []
        for number, text in texts.items():
            self.writes += 1
            chunk = Chunk.whole(
                number, text, fields or {"kind": "even" if len(text) % 2 else "odd"}
            )
            made_by = Lineage(SPACE.id, "model", chunk.text_hash, f"b{self.writes}", "run", AT)
            rows.append((chunk, vector(self.writes), made_by))
        if rows:
            assert VectorWriter(self.store).write(rows) == len(rows)
        self.note()

    def note(self) -> None:
        """What a run notes when it has changed the store."""
        stores = self.database["vector_stores"]
        revision = {"revision": secrets.token_hex(8), "pipeline": "films", "space": SPACE.id}
        stores.update_one({"_id": str(self.store.key)}, {"$set": revision}, upsert=True)

    def engine(self, name: str = "vector_index", **text: Any) -> LocalEngine:
        declared = None if text.get("none") else TextDeclaration(**text)
        return LocalEngine(
            store=self.store,
            batches=BatchStore(self.folder),
            registry=self.registry,
            space=SPACE,
            pipeline="films",
            declared=IndexDeclaration(name=name, text=declared, **SETTINGS),
        )

    def serve(self, name: str = "vector_index", **text: Any) -> ServedLocally:
        engine = self.engine(name, **text)
        engine.reconcile(print)
        return engine.serve()


@pytest.fixture
def bench(tmp_path: Path, mongod_uri: str) -> Iterator[Bench]:
    with pymongo.MongoClient(mongod_uri) as client:
        made = Bench(client[f"test_{secrets.token_hex(6)}"], str(tmp_path / "batches"))
        yield made
        client.drop_database(made.database.name)


def words(served: ServedLocally, text: str, **query: Any) -> list[Hit]:
    return served.matching(text, Query(**{"limit": 50, "mode": "text", **query}))


def ids(served: ServedLocally, text: str, **query: Any) -> list[Any]:
    return [hit.id for hit in words(served, text, **query)]


TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join)
ROUND = st.fixed_dictionaries(
    {
        "put": st.dictionaries(st.integers(0, 25), TEXTS, max_size=12),
        "delete": st.sets(st.integers(0, 25), max_size=6),
        "merge": st.booleans(),
    }
)


@pytest.mark.parametrize("tokenizer", ["unicode61", "trigram"])
@given(rounds=st.lists(ROUND, min_size=1, max_size=6), query=TEXTS, limit=st.integers(1, 12))
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_after_any_history_words_find_what_a_fresh_build_finds(
    bench: Bench, tokenizer: Any, rounds: list[dict], query: str, limit: int
) -> None:
    one = Bench(bench.database, f"{bench.folder}/{secrets.token_hex(4)}")
    for number, now in enumerate(rounds):
        one.put(now["put"])
        one.store.collection.delete_many({"_id": {"$in": list(now["delete"])}})
        one.note()
        engine = one.engine(tokenizer=tokenizer)
        engine.reconcile(print)
        if now["merge"]:
            engine.merge(print)
        served = engine.serve()
        fresh = one.serve(f"fresh{number}", tokenizer=tokenizer)
        assert len(fresh.version.segments) <= 1
        for condition in (None, {"kind": "odd"}):
            for count in (limit, 50):
                expected = words(fresh, query, limit=count, filter=condition)
                assert words(served, query, limit=count, filter=condition) == expected
            holding = {"_id": {"$in": [hit.id for hit in expected]}, **(condition or {})}
            assert one.store.collection.count_documents(holding) == len(expected)
        assert served.version.text is not None
        assert served.version.text.rows == one.store.collection.count_documents({})


def test_scores_by_hand(bench: Bench) -> None:
    bench.put({1: "red hat", 2: "red red boat", 3: "blue boat at sea", 4: "clock"})
    served = bench.serve()

    def part(holding: int, count: int, length: int) -> float:
        weight = max(math.log((4 - holding + 0.5) / (holding + 0.5)), 1e-6)
        return weight * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / 2.5))

    hits = words(served, "red hat")
    assert [hit.id for hit in hits] == [1, 2]
    assert hits[0].score == pytest.approx(part(2, 1, 2) + part(1, 1, 2))
    assert hits[1].score == pytest.approx(part(2, 2, 3))


def test_a_text_that_changed_beside_its_vector_is_noticed(bench: Bench) -> None:
    bench.put({number: f"text {number}" for number in range(40)}, {"title": "old", "kind": "k"})
    assert len(ids(bench.serve(fields=["title"]), "old")) == 40
    bench.store.collection.update_one({"_id": 7}, {"$set": {"title": "renamed"}})
    bench.note()
    engine = bench.engine(fields=["title"])
    report = engine.reconcile(print)
    assert report.details["vectors read"] == 1
    assert ids(engine.serve(), "renamed") == [7]
    assert 7 not in ids(engine.serve(), "old")


def test_declared_fields_are_searched(bench: Bench) -> None:
    bench.put({1: "embedded"}, {"title": "A title", "parts": [{"name": "Wheel"}, {"name": 5}]})
    bench.put({2: "other"}, {"title": ["in", "a list"], "parts": None})
    bench.put({3: "nothing"}, {"kind": "k"})
    served = bench.serve(fields=["title", "parts.name"])
    assert ids(served, "wheel") == ids(served, "title") == [1]
    assert ids(served, "list") == [2]
    assert ids(served, "embedded nothing") == []
    assert served.version.text is not None
    assert served.version.text.rows == 2
    assert ids(bench.serve("other"), "embedded nothing") == [1, 3]


def test_an_index_without_words_says_the_way_out(bench: Bench) -> None:
    bench.put({number: f"text {number}" for number in range(10)})
    served = bench.serve(none=True)
    for ask in (
        lambda: words(served, "text"),
        lambda: served.fused("text", vector(1), Query(5, mode="hybrid")),
        lambda: served.explain(None, "text", Query(5, mode="text")),
    ):
        with pytest.raises(QueryRefused, match=r"text: \{\}.*materialize search_index"):
            ask()
    again = bench.serve()
    assert again.why_no_text() == ""
    assert ids(again, "3") == [3]
    # who has the other one open goes on
    assert served.why_no_text()
    assert [hit.id for hit in served.nearest(vector(1), Query(1))] == [0]


def test_filters_hold(bench: Bench) -> None:
    bench.put({1: "red hat"}, {"kind": "a"})
    bench.put({2: "red boat"}, {"kind": "b"})
    served = bench.serve()
    assert set(ids(served, "red")) == {1, 2}
    assert ids(served, "red", filter={"kind": "b"}) == [2]
    assert ids(served, "red", filter={"kind": "c"}) == []
    with pytest.raises(QueryRefused, match="not a filter field"):
        words(served, "red", filter={"title": "x"})


def test_both_are_fused_and_explained(bench: Bench) -> None:
    bench.put({1: "red hat", 2: "red red boat", 3: "blue boat at sea", 4: "clock"})
    served = bench.serve()
    query = Query(3, mode="hybrid", weights=(1, 3))
    hits = served.fused("clock", vector(2), query)
    assert hits[0].id == 4
    assert hits[0].ranks["text"] == 1
    assert {hit.id: hit.ranks for hit in hits}[2] == {"vector": 1}
    stage = served.explain(vector(2), "Clock the", query)["local engine"]
    assert stage["text"]["documents"] == 4
    assert stage["text"]["terms"]["clock"]["documents"] == 1
    assert stage["text"]["terms"]["the"]["documents"] == 0
    assert stage["fused by"]["weights"] == {"vector": 1, "text": 3}
    assert "numCandidates" not in served.explain(None, "x", Query(3, mode="text"))["local engine"]
    assert "text" not in served.explain(vector(1), "", Query(3))["local engine"]


def test_texts_lie_in_an_object_store_too(mongod_uri: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pymongo.MongoClient(mongod_uri) as client:
        name = f"test_{secrets.token_hex(6)}"
        bench = Bench(client[name], f"memory://{name}")
        bench.put({number: f"text {number}" for number in range(10)})
        served = bench.serve()
        bench.put({3: "changed"})
        served = bench.serve()
        assert ids(served, "changed") == [3]
        assert list(tmp_path.iterdir())
        client.drop_database(name)
    del served
    versions.forget()
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_who_has_a_version_open_keeps_its_texts(bench: Bench) -> None:
    bench.put({number: f"text {number}" for number in range(10)})
    served = bench.serve()
    expected = words(served, "text 4")
    shutil.rmtree(bench.folder)
    assert words(served, "text 4") == expected


def test_a_damaged_text_is_built_again(bench: Bench) -> None:
    bench.put({number: f"text {number}" for number in range(10)})
    bench.serve()
    (file,) = Path(bench.folder).rglob("text.sqlite")
    file.write_bytes(file.read_bytes().replace(b"text", b"next"))
    versions.forget()
    gc.collect()
    said: list[str] = []
    engine = bench.engine()
    assert engine.reconcile(said.append).changed
    assert any("torn or foreign text.sqlite" in line for line in said)
    assert len(ids(engine.serve(), "text")) == 10


def test_another_tokenizer_is_another_index(bench: Bench) -> None:
    bench.put({1: "私は昨日から東京", 2: "大阪城", 3: "connected"})
    assert ids(bench.serve(), "東京") == []
    assert ids(bench.serve(tokenizer="trigram"), "東京") == [1]
    assert ids(bench.serve(tokenizer="porter"), "connections") == [3]
    assert not bench.engine(tokenizer="porter").reconcile(print).changed


DECLARED = st.sampled_from(
    [
        {"none": True},
        {},
        {"tokenizer": "trigram"},
        {"fields": ["title"]},
        {"fields": ["title", "text"]},
    ]
)


@given(
    rounds=st.lists(st.tuples(ROUND, DECLARED, st.integers(0, 25)), min_size=2, max_size=6),
    query=TEXTS,
)
@example(
    rounds=[
        ({"put": {0: "the"}, "delete": set()}, {}, 0),
        # Nothing is left, and other words are wanted: the rows of the index stay.
        ({"put": {}, "delete": {0}}, {"none": True}, 0),
        ({"put": {}, "delete": set()}, {}, 0),
        ({"put": {1: "the"}, "delete": set()}, {"tokenizer": "trigram"}, 0),
    ],
    query="the",
)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_what_is_searched_may_change_at_any_time(
    bench: Bench, rounds: list[tuple[dict, dict, int]], query: str
) -> None:
    one = Bench(bench.database, f"{bench.folder}/{secrets.token_hex(4)}")
    for number, (now, text, renamed) in enumerate(rounds):
        one.put(now["put"], {"kind": "k", "title": f"{query} title {number}"})
        one.store.collection.delete_many({"_id": {"$in": list(now["delete"])}})
        one.store.collection.update_one({"_id": renamed}, {"$set": {"title": query}})
        one.note()
        served, fresh = one.serve(**text), one.serve(f"fresh{number}", **text)
        assert (served.why_no_text() == "") == ("none" not in text)
        if "none" not in text:
            assert words(served, query) == words(fresh, query)
        near = served.nearest(vector(number), Query(30, exact=True))
        assert near == fresh.nearest(vector(number), Query(30, exact=True))
        assert len(near) == one.store.collection.count_documents({})


def test_other_words_leave_the_vectors_as_they_are(bench: Bench) -> None:
    bench.put({number: f"text {number}" for number in range(60, 0, -1)})
    before = bench.serve(none=True).version
    assert before.segments[0].has_graph
    bench.put({7: "renamed"})
    for text in ({}, {"tokenizer": "trigram"}, {"fields": ["text"]}, {"none": True}):
        engine = bench.engine(**text)
        report = engine.reconcile(print)
        assert report.changed
        assert report.details["vectors read"] == (1 if text == {} else 0)
        after = engine.serve().version
        kept = after.segments[0]
        assert kept.ids == before.segments[0].ids
        assert (kept.vectors == before.segments[0].vectors).all()
        assert kept.name != before.segments[0].name
        if "none" not in text:
            assert ids(engine.serve(), "renamed") == [7]
            assert ids(engine.serve(), "text 33")[0] == 33
        assert not engine.reconcile(print).changed


@pytest.mark.parametrize("look", [1, 2, 3, 4])
def test_what_changes_while_words_are_indexed_anew_is_right_by_the_next_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    bench.put({number: f"text {number}" for number in range(30)}, {"title": "old", "kind": "k"})
    bench.serve(none=True)
    engine, looks, marks = bench.engine(fields=["title", "text"]), [], bench.store.marks

    def meanwhile(*args: Any, **options: Any) -> Any:
        looks.append(args)
        if len(looks) == look:
            bench.put({7: "rewritten"}, {"title": "new", "kind": "k"})
            bench.store.collection.update_one({"_id": 8}, {"$set": {"title": "renamed"}})
            bench.store.collection.delete_one({"_id": 9})
        return marks(*args, **options)

    monkeypatch.setattr(bench.store, "marks", meanwhile)
    engine.reconcile(print)
    assert len(looks) == 4
    bench.note()
    engine.reconcile(print)
    served, fresh = engine.serve(), bench.serve("fresh", fields=["title", "text"])
    for query in ("new", "old", "renamed", "rewritten", "text 9"):
        assert words(served, query) == words(fresh, query)
    every = Query(40, exact=True)
    assert served.nearest(vector(3), every) == fresh.nearest(vector(3), every)


def test_long_texts_are_read_few_at_a_time(bench: Bench) -> None:
    bench.put({number: "words " * 600_000 for number in range(6)})
    texts = Texts(bench.store, TextDeclaration())
    fields = [*texts.fields]
    batches = list(bench.store.vectors(SPACE.id, fields, size_of=texts.size))
    assert [len(batch) for batch in batches] == [4, 2]
    assert len(list(bench.store.vectors(SPACE.id, fields))) == 1
    assert len(ids(bench.serve(), "words")) == 6
