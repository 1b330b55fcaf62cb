"""What is noted of stores and indexes, in the shape that earlier versions read and wrote."""

import dataclasses
from contextlib import contextmanager

import pytest

from resources.core.errors import LeaseError
from resources.core.lane import Lane
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.mongodb.lease import held
from resources.registry.indexes import IndexEntry, Indexes
from resources.registry.stores import StoreClaim, StoreEntry, Stores

STORE = StoreKey("db", "vectors", "embedding")
LANE = Lane("films", "space-a")


@contextmanager
def lease(database, run="run-1"):
    with held(database.client, database.name, LANE, run, seconds=30, wait_seconds=0) as found:
        yield found


def test_a_store_has_another_revision_after_every_change(database):
    stores = Stores(database)
    assert stores.get(STORE) is None
    with lease(database) as mine:
        stores.note_changes(STORE, mine)
        begun = stores.get(STORE)
        stores.record(STORE, mine, space_id="space-a", stored_as="int8")
        first = stores.get(STORE)
        stores.record(STORE, mine, space_id="space-a", stored_as="int8")
        second = stores.get(STORE)
    assert begun == StoreEntry(STORE, None, None, None, begun.revision)
    assert first == StoreEntry(STORE, "films", "space-a", "int8", first.revision)
    assert len({entry.revision for entry in (begun, first, second)}) == 3
    assert stores.of_space("space-a") == [second]
    assert stores.of_space("space-b") == []
    found = database["vector_stores"].find_one({"_id": str(STORE)})
    wanted = {"_id", "pipeline", "space", "stored_as", "revision", "tokens", "at"}
    assert found.keys() == wanted
    assert found["tokens"] == {"films": mine.token}


def test_a_holder_gone_stale_notes_nothing(database):
    stores = Stores(database)
    with lease(database) as old:
        pass
    with lease(database, "run-2") as new:
        stores.record(STORE, new, space_id="space-b", stored_as="float32")
    with pytest.raises(LeaseError):
        stores.record(STORE, old, space_id="space-a", stored_as="float32")
    indexes = Indexes(database["search_indexes"])
    indexes.record("i", ENTRY, new)
    with pytest.raises(LeaseError):
        indexes.record("i", ENTRY, old)
    assert [entry.key for entry in stores.of_space("space-b")] == [STORE]


def test_claims_of_several_pipelines(database):
    stores = Stores(database)
    assert stores.claim(STORE) == StoreClaim.of({})
    stores.add_claim(STORE, "films", ["kind"])
    claim = stores.add_claim(STORE, "books", [])
    stores.note_marked(STORE, "films")
    assert claim.pipelines == {"films", "books"}
    assert claim.carried["films"] == ["kind"]
    assert stores.claim(STORE).marked == {"films"}
    stores.add_claim("db.vectors:other.path", "films", [])
    stores.add_claim("db.vectors2:embedding", "films", [])
    assert sorted(stores.paths("db.vectors")) == ["embedding", "other.path"]


def test_a_space_from_before_servers_were_told_apart_is_that_of_the_first(database):
    stores = Stores(database)
    one, two = (
        EmbeddingSpace("openai", "m", "", 8, "", False, (("endpoint", f"http://{name}"),))
        for name in ("one", "two")
    )
    assert stores.settled_space(one, STORE) == one
    database["vector_stores"].insert_one({"_id": str(STORE), "space": one.without_endpoint().id})
    assert stores.settled_space(one, STORE) == one.without_endpoint()
    stores.settle_space(one.without_endpoint(), one, STORE)
    assert stores.settled_space(one, STORE) == one.without_endpoint()
    assert stores.settled_space(two, STORE) == two


ENTRY = IndexEntry("local", "space-a", str(STORE), "v1", 5, fingerprint="f", declaration={"a": 1})


def test_an_index_entry_is_read_as_it_was_written(database):
    indexes = Indexes(database["search_indexes"])
    assert indexes.get("i") is None
    indexes.record("i", ENTRY)
    indexes.note_nothing_left_out("i", {"revision": "r"})
    found = indexes.get("i")
    assert found is not None
    assert found.nothing_left_out == {"revision": "r"}
    assert found.declaration == {"a": 1}
    document = database["search_indexes"].find_one({"_id": "i"})
    names = {"engine", "space", "store", "version", "fingerprint", "indexed", "declaration"}
    assert document.keys() == names | {"_id", "at", "nothing_left_out", "text_definition"}


def test_an_index_over_texts_is_forgotten_once_there_is_none(database):
    indexes = Indexes(database["search_indexes"])
    indexes.record("i", dataclasses.replace(ENTRY, text_definition={"mappings": {}}))
    found = indexes.get("i")
    assert found is not None
    assert found.text_definition == {"mappings": {}}
    indexes.record("i", ENTRY)
    found = indexes.get("i")
    assert found is not None
    assert found.text_definition is None


def test_the_maker_of_an_index_is_known_until_it_is_gone(database):
    indexes = Indexes(database["search_indexes"])
    assert indexes.maker("i_text") is None
    indexes.forget_maker("i_text")
    indexes.note_maker("i_text", "films")
    assert indexes.maker("i_text") == "films"
    assert indexes.get("i_text") is None, "it is no index of its own"
    indexes.forget_maker("i_text")
    assert indexes.maker("i_text") is None


def test_a_server_that_tells_no_version_of_an_index(database):
    indexes = Indexes(database["search_indexes"])
    indexes.record("i", ENTRY)
    indexes.record("i", IndexEntry("mongodb", "space-a", str(STORE), None, 5, definition={"f": []}))
    found = indexes.get("i")
    assert found is not None
    assert (found.engine, found.version, found.definition) == ("mongodb", None, {"f": []})
