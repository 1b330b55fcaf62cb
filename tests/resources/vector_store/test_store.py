"""The vector store on every kind of server."""

import dataclasses
from datetime import UTC, datetime

import bson
import numpy as np
import pymongo
import pytest
from bson import ObjectId
from bson.binary import Binary, BinaryVectorDtype

from resources.core.chunks import Chunk
from resources.core.errors import ConfigurationError
from resources.core.keys import key
from resources.core.lineage import Lineage
from resources.core.space import EmbeddingSpace
from resources.core.vectors import from_bson, to_bson
from resources.sources.collection import CollectionOrigin
from resources.sources.inline import TextsOrigin
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore
from resources.vector_store.writer import VectorWriter

AT = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)
TEXTS = SourceResource(origin=TextsOrigin(documents=["x"]), carry=["kind", "place.country"])


SPACE = EmbeddingSpace("p", "model", "", 8, "", normalized=False)


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=8).astype(np.float32)


def lineage(chunk: Chunk, space: str = "space-a") -> Lineage:
    return Lineage(space, "model-a", chunk.text_hash, "batch-1", "run-1", AT)


@pytest.fixture
def store(database) -> VectorStore:
    resource = VectorStoreResource(database=database.name, collection="vectors")
    opened = resource.open(database.client, TEXTS, SPACE, "films", scale_of=lambda _: None)
    opened.prepare()
    opened.prepare()  # doing it again is no error
    return opened


def put(store: VectorStore, *chunks: Chunk, space: str = "space-a") -> None:
    rows = [(c, vector(n), lineage(c, space)) for n, c in enumerate(chunks)]
    assert VectorWriter(store).write(rows) == len(chunks)


def test_a_vector_is_bson_bindata_of_float32():
    stored = to_bson(vector(1), "float32")
    assert isinstance(stored, Binary)
    assert stored.subtype == 9
    assert stored.as_vector().dtype == BinaryVectorDtype.FLOAT32
    assert np.array_equal(from_bson(stored), vector(1))
    assert np.array_equal(from_bson([0.5, 2.0]), np.array([0.5, 2.0], np.float32))


def test_a_document_holds_text_fields_vector_and_lineage(store):
    chunk = Chunk.whole("a", "the text", {"kind": "film", "place": {"country": "IE"}})
    put(store, chunk)
    (document,) = store.collection.find()
    assert document == {
        "_id": "a",
        "source_id": "a",
        "text": "the text",
        "kind": "film",
        "place": {"country": "IE"},
        "embedding": to_bson(vector(0), "float32"),
        "embedding_lineage": {
            "space": "space-a",
            "model": "model-a",
            "text_hash": chunk.text_hash,
            "fields_hash": chunk.fields_hash,
            "batch": "batch-1",
            "run": "run-1",
            "at": AT.replace(tzinfo=None),
            "pipeline": "films",
            "stored_as": "float32",
        },
        "embedding_inserted_by": "films",
    }


def test_writing_twice_changes_nothing(store):
    chunks = [Chunk.whole(n, f"text {n}", {"kind": "k"}) for n in range(5)]
    put(store, *chunks)
    before = list(store.collection.find().sort("_id"))
    put(store, *chunks)
    assert list(store.collection.find().sort("_id")) == before


def test_a_document_that_was_there_is_left_as_it_is(store):
    store.collection.insert_one({"_id": "a", "note": "not ours"})
    writer = VectorWriter(store)
    chunks = [Chunk.whole("a", "the text", {"kind": "film"}), Chunk.whole("b", "more", {})]
    assert writer.write([(c, vector(n), lineage(c)) for n, c in enumerate(chunks)]) == 1
    assert store.collection.find_one({"_id": "a"}) == {"_id": "a", "note": "not ours"}
    ((chunk, reason),) = writer.aside
    assert chunk.id == "a"
    assert "was there before" in reason


def test_a_document_that_appears_while_it_is_written_is_left_as_it_is(store, monkeypatch):
    chunks = [Chunk.whole("a", "the text", {}), Chunk.whole("b", "more", {})]
    find, looks = pymongo.collection.Collection.find, []

    def before_it_appeared(self, *args, **options):
        looks.append(args)
        if len(looks) == 1:
            self.insert_one({"_id": "a", "note": "faster"})
            return []
        return find(self, *args, **options)

    writer = VectorWriter(store)
    monkeypatch.setattr(pymongo.collection.Collection, "find", before_it_appeared)
    assert writer.write([(c, vector(0), lineage(c)) for c in chunks]) == 1
    monkeypatch.undo()
    assert [chunk.id for chunk, _ in writer.aside] == ["a"]
    assert store.collection.find_one({"_id": "a"}) == {"_id": "a", "note": "faster"}
    assert store.count() == 1


@pytest.mark.parametrize("layout", ["langchain", "llamaindex"])
def test_a_layout_stands_in_its_way_only_where_another_pipeline_has_its_vector(
    database, monkeypatch, layout
):
    resource = VectorStoreResource(database=database.name, collection="vectors", layout=layout)
    store = resource.open(database.client, TEXTS, SPACE, "films", scale_of=lambda _: None)
    chunks = [Chunk.whole(name, f"text {name}", {"kind": name}) for name in "ab"]
    put(store, chunks[0])
    find, looks = pymongo.collection.Collection.find, []

    def before_it_was_written(self, *args, **options):
        looks.append(args)
        return [] if len(looks) == 1 else find(self, *args, **options)

    later = Chunk.whole("a", "another text", {"kind": "b"})
    other = VectorStoreResource(database=database.name, collection="vectors", path="second")
    theirs = other.open(database.client, TEXTS, SPACE, "others", scale_of=lambda _: None)
    put(theirs, chunks[1])
    writer = VectorWriter(store)
    monkeypatch.setattr(pymongo.collection.Collection, "find", before_it_was_written)
    assert writer.write([(c, vector(1), lineage(c)) for c in (later, chunks[1])]) == 1
    monkeypatch.undo()
    ((aside, reason),) = writer.aside
    assert aside.id == "b"
    assert f"of the pipeline others, which {layout} would take for metadata" in reason
    assert store.collection.find_one({"_id": "a"})["text"] == "another text"
    assert "embedding" not in store.collection.find_one({"_id": "b"})


@pytest.mark.parametrize(
    "chunk_id",
    ["a", 7, ObjectId("65f0a1b2c3d4e5f601234567"), {"part": 1, "of": "b"}, 2.5],
    ids=repr,
)
def test_any_id_is_found_again(store, chunk_id):
    chunk = Chunk.whole(chunk_id, "text", {})
    put(store, chunk)
    state = store.stored([chunk_id, "absent"])
    assert list(state) == [key(chunk_id)]
    assert state[key(chunk_id)].text_hash == chunk.text_hash
    assert VectorWriter(store).delete([chunk_id]) == 1
    assert store.count() == 0


def test_refresh_writes_fields_and_removes_those_that_went(store):
    put(store, Chunk.whole("a", "t", {"kind": "film", "place": {"country": "IE"}}))
    new = Chunk.whole("a", "t", {"kind": "place"})
    assert VectorWriter(store).refresh([new]) == 1
    document = store.collection.find_one()
    assert document["kind"] == "place"
    assert "country" not in document.get("place", {})
    assert document["embedding"] == to_bson(vector(0), "float32")
    assert store.stored(["a"])[key("a")].fields_hash == new.fields_hash


def test_a_vector_is_found_by_its_text_within_its_space(store):
    chunks = [Chunk.whole(n, f"text {n}", {}) for n in range(3)]
    put(store, *chunks[:2])
    put(store, chunks[2], space="space-b")
    hashes = [chunk.text_hash for chunk in chunks]
    assert store.known_texts("space-a", hashes) == set(hashes[:2])
    found = store.by_text("space-a", hashes)
    assert set(found) == set(hashes[:2])
    stored, made = found[hashes[1]]
    assert np.array_equal(stored, vector(1))
    assert (made.model, made.batch, made.run) == ("model-a", "batch-1", "run-1")


def test_a_pipeline_deletes_only_its_own(store, database):
    other = VectorStoreResource(database=database.name, collection="vectors").open(
        database.client, TEXTS, SPACE, "places", scale_of=lambda _: None
    )
    put(store, Chunk.whole("mine", "t1", {}))
    put(other, Chunk.whole("theirs", "t2", {}))
    assert VectorWriter(store).delete(["mine", "theirs"]) == 1
    assert [document["_id"] for document in store.collection.find()] == ["theirs"]
    assert (store.count(), other.count()) == (0, 1)
    assert list(other.ids()) == [("theirs", "theirs")]


@pytest.mark.parametrize("lasting", [True, False])
def test_of_refused_texts_what_is_of_no_more_use_is_withdrawn(store, lasting):
    chunks = {
        name: Chunk.whole(name, name, {}) for name in ("same", "older", "cut", "other", "int8")
    }
    put(store, *chunks.values())
    for name, change in {
        "older": {"embedding_lineage.text_hash": "before"},
        "cut": {"embedding_lineage.cut": True},
        "other": {"embedding_lineage.space": "space-b"},
        "int8": {"embedding_lineage.stored_as": "int8"},
    }.items():
        store.collection.update_one({"_id": name}, {"$set": change})
    gone = {"other", "int8"} | ({"older", "cut"} if lasting else set())
    wanted = [(chunk, lasting) for chunk in chunks.values()]
    assert VectorWriter(store).withdraw(wanted, "space-a") == len(gone)
    assert {found["_id"] for found in store.collection.find()} == chunks.keys() - gone


def test_a_chunker_that_is_no_longer_used_goes_from_the_lineage(store):
    chunk = Chunk.whole("a", "the text", {})
    put(store, chunk)
    store.collection.update_one({"_id": "a"}, {"$set": {"embedding_lineage.chunker": "cut"}})
    assert VectorWriter(store).refresh([chunk]) == 1
    assert "chunker" not in store.collection.find_one({"_id": "a"})["embedding_lineage"]


def test_an_empty_list_deletes_nothing(store):
    """LangChain's store empties the collection for it."""
    put(store, Chunk.whole("a", "t1", {}))
    writer = VectorWriter(store)
    assert writer.delete([]) == writer.refresh([]) == writer.write([]) == writer.distrust([]) == 0
    assert store.count() == 1
    assert store.stored(["a"])[key("a")].text_hash


def test_every_look_up_goes_by_an_index(mongod_uri):
    """Haystack's store has none on its ids: its writes get slower with the collection."""
    client = pymongo.MongoClient(mongod_uri)
    resource = VectorStoreResource(database="test_look_ups", collection="vectors")
    opened = resource.open(client, TEXTS, SPACE, "films", scale_of=lambda _: None)
    opened.prepare()
    put(opened, *(Chunk.whole(n, f"text {n}", {}) for n in range(50)))
    asked: list[dict] = []

    class Wanted(pymongo.monitoring.CommandListener):
        def started(self, event):
            if event.command_name in ("find", "aggregate", "update", "distinct"):
                command = {k: v for k, v in event.command.items() if k not in ("lsid", "$db")}
                if "updates" in command:  # one is explained at a time
                    command["updates"] = command["updates"][:1]
                asked.append(command)

        def succeeded(self, event):
            pass

        failed = succeeded

    listening = pymongo.MongoClient(mongod_uri, event_listeners=[Wanted()])
    watched = resource.open(listening, TEXTS, SPACE, "films", scale_of=lambda _: None)
    chunks = [Chunk.whole(n, f"text {n}", {}) for n in (1, 2, 99)]
    hashes = [chunk.text_hash for chunk in chunks]
    watched.stored([1, 2])
    watched.known_texts("space-a", hashes)
    watched.by_text("space-a", hashes)
    watched.count_space("space-a")
    watched.spaces()
    watched.documents([1])
    put(watched, *chunks)
    assert len(asked) == 8
    for command in asked:
        plan = str(client["test_look_ups"].command("explain", command, verbosity="queryPlanner"))
        assert "COLLSCAN" not in plan, command
    client.drop_database("test_look_ups")
    client.close()
    listening.close()


def test_vectors_are_counted_by_model_and_strangers_seen(store):
    put(store, *[Chunk.whole(n, f"text {n}", {}) for n in range(3)])
    put(store, Chunk.whole("b", "text", {}), space="space-b")
    store.collection.insert_one({"_id": "stranger", "embedding": [1.0, 2.0]})
    rows = {row["space"]: row["vectors"] for row in store.count_by_model()}
    assert rows == {"space-a": 3, "space-b": 1}
    assert store.count_space("space-a") == 3
    assert store.without_lineage() == 1


def test_vectors_stream_in_batches_with_the_fields_asked_for(store):
    put(store, *[Chunk.whole(n, f"text {n}", {"kind": f"k{n}"}) for n in range(7)])
    batches = list(store.vectors("space-a", ["kind", "place", "place.country"], batch_size=3))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    rows = [row for batch in batches for row in batch]
    assert {row.id: row.fields["kind"] for row in rows} == {n: f"k{n}" for n in range(7)}
    assert all(np.array_equal(row.vector, vector(row.id)) for row in rows)


@pytest.fixture
def listings(database) -> SourceResource:
    database["listings"].insert_many([{"_id": n, "summary": f"s{n}", "beds": n} for n in range(3)])
    origin = CollectionOrigin(database=database.name, collection="listings")
    return SourceResource(origin=origin, text="summary")


def test_in_place_vectors_join_the_source_documents(database, listings):
    resource = VectorStoreResource(in_place=True, path="ai.embedding")
    store = resource.open(database.client, listings, SPACE, "airbnb", scale_of=lambda _: None)
    store.prepare()
    put(store, Chunk.whole(1, "s1", {}), Chunk.whole(2, "s2", {}))
    document = database["listings"].find_one({"_id": 1})
    assert (document["summary"], document["beds"]) == ("s1", 1)
    assert document["ai"]["embedding"] == to_bson(vector(0), "float32")
    assert document["ai_lineage"]["embedding"]["space"] == "space-a"
    assert "text" not in document
    # a document that is gone is not made anew
    gone = Chunk.whole(99, "s99", {})
    assert VectorWriter(store).write([(gone, vector(0), lineage(gone))]) == 0
    assert database["listings"].count_documents({}) == 3
    # deletion takes the vector, not the document
    assert VectorWriter(store).delete([1]) == 1
    assert database["listings"].find_one({"_id": 1}) == {
        "_id": 1, "summary": "s1", "beds": 1, "ai": {},
    }  # fmt: skip


def test_settings_that_contradict_each_other_are_refused(listings):
    client: pymongo.MongoClient = pymongo.MongoClient(connect=False)
    cases = [
        (VectorStoreResource(), TEXTS, "needs `database` and `collection`"),
        (VectorStoreResource(in_place=True), TEXTS, "only documents of a MongoDB collection"),
        (VectorStoreResource(in_place=True, database="x"), listings, "remove `database`"),
        (
            VectorStoreResource(in_place=True),
            listings.model_copy(update={"id_field": "beds"}),
            "written by `_id`",
        ),
        (
            VectorStoreResource(database="d", collection="c", path="vec"),
            TEXTS.model_copy(update={"carry": ["vec.x", "text"]}),
            "carries text, vec.x",
        ),
    ]
    for resource, source, message in cases:
        with pytest.raises(ConfigurationError, match=message):
            resource.open(client, source, SPACE, "p", scale_of=lambda _: None)


@pytest.mark.parametrize("path", ["_id", "text", "source_id", "$a", "a..b"])
def test_a_reserved_path_is_refused(path):
    with pytest.raises(ValueError, match="is taken"):
        VectorStoreResource(path=path)


@pytest.mark.parametrize(
    ("dtype", "rescore", "stored_as"),
    [
        ("int8", None, BinaryVectorDtype.INT8),
        ("packed_bit", "float32", BinaryVectorDtype.PACKED_BIT),
        ("array", None, None),
    ],
)
def test_a_format_decides_what_is_stored_and_what_can_be_copied(
    database, dtype, rescore, stored_as
):
    resource = VectorStoreResource(
        database=database.name, collection="vectors", dtype=dtype, rescore=rescore or "none"
    )
    store = resource.open(database.client, TEXTS, SPACE, "films", scale_of=lambda _: 40.0)
    chunk = Chunk.whole("a", "the text", {"kind": "film"})
    put(store, chunk)
    (document,) = store.collection.find()
    main = document["embedding"]
    assert isinstance(main, list) if stored_as is None else main.as_vector().dtype is stored_as
    assert store.stored(["a"])[key("a")].format == str(store.format)
    # Only where nothing was lost can the provider's vector be had back.
    copies = store.by_text("space-a", [chunk.text_hash]) if store.keeps_all else {}
    assert store.known_texts("space-a", [chunk.text_hash]) == set(copies)
    assert bool(copies) == (dtype != "int8")
    for copied, _ in copies.values():
        assert np.array_equal(copied, vector(0))
    if rescore:
        assert np.array_equal(store.fine_vectors(["a"], "space-a")[key("a")], vector(0))
        assert "embedding_rescore" not in store.documents(["a"])[key("a")]


def test_a_store_is_opened_with_the_scale_of_its_space(database):
    asked = []

    def opened(dtype: str, scale: float | None) -> VectorStore:
        def scale_of(space_id: str) -> float | None:
            asked.append(space_id)
            return scale

        resource = VectorStoreResource(database="d", collection="c", dtype=dtype)
        return resource.open(database.client, TEXTS, SPACE, "films", scale_of=scale_of)

    assert not opened("float32", 40.0).format.unscaled
    assert asked == []  # nothing that it needs
    assert opened("int8", 40.0).format.scale == 40.0
    assert asked == [SPACE.id]
    # Before anything was stored it is open for reading.
    bare = opened("int8", None)
    assert bare.format.unscaled
    assert (bare.count(), bare.spaces()) == (0, [])


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ((("element", "int8"),), {"dtype": "float32"}, "the embedder returns int8"),
        ((("element", "packed_bit"),), {"dtype": "int8"}, "the embedder returns packed_bit"),
        ((), {"rescore": "float32"}, "no finer than `dtype: float32`"),
        ((), {"dtype": "int8", "rescore": "int8"}, "no finer than `dtype: int8`"),
        (
            (("element", "int8"),),
            {"dtype": "packed_bit", "rescore": "float32"},
            "let the provider return floats",
        ),
    ],
)
def test_a_format_finer_than_what_is_there_is_refused(options, settings, message):
    space = dataclasses.replace(SPACE, options=options)
    with pytest.raises(ConfigurationError, match=message):
        VectorStoreResource(**settings).format(space)


def marks(store: VectorStore, *, expected: int = 3) -> dict[object, bytes]:
    found = {}
    for batch in store.marks("space-a", ["kind", "place.country"], expected=expected):
        for document in bson.decode_iter(batch):
            assert "embedding" not in document
            found[document["_id"]] = bson.encode(document)
    return found


def test_marks_differ_after_every_change_and_only_then(store):
    put(store, *(Chunk.whole(n, f"text {n}", {"kind": "a", "other": n}) for n in range(3)))
    put(store, Chunk.whole("other", "text", {}), space="space-b")
    before = marks(store)
    assert set(before) == {0, 1, 2}
    assert marks(store) == before
    assert marks(store, expected=0) == before, "the order of reading changes nothing"
    store.collection.update_one({"_id": 0}, {"$set": {"place": {"country": "NO", "city": "Oslo"}}})
    store.collection.update_one({"_id": 1}, {"$set": {"other": "of no interest"}})
    store.collection.update_one({"_id": 2}, {"$set": {"embedding_lineage.text_hash": "another"}})
    after = marks(store)
    assert {each for each in after if after[each] != before[each]} == {0, 2}
    store.collection.delete_one({"_id": 1})
    assert set(marks(store)) == {0, 2}


def test_vectors_of_some_ids(store):
    put(store, *(Chunk.whole(n, f"text {n}", {}) for n in range(5)))
    put(store, Chunk.whole("other", "text", {}), space="space-b")
    found = [
        row for rows in store.vectors("space-a", [], 2, ids=[1, 3, 9, "other"]) for row in rows
    ]
    assert sorted(row.id for row in found) == [1, 3]
    assert all(np.array_equal(row.vector, vector(row.id)) for row in found)
