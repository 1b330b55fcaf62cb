"""`embeddings audit`: every kind of damage is seen, named, and repaired by exactly that work."""

import json
import sys
from collections.abc import Iterator

import pytest
from bson.binary import Binary
from pymongo.collection import Collection

from resources.core.vectors import from_bson, to_bson
from tests.pipelines.helpers import (
    DOCUMENTS,
    Place,
    corpus_settings,
    embeddings,
    succeeds,
    write_jsonl,
    write_pipeline,
)

PIPELINE = "audit_pipelines.films"

# Every case is two or three whole runs; the store's own tests run on every kind of server.
pytestmark = pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)


@pytest.fixture
def place(
    tmp_path, mongodb_uri: str, database, static_model: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    name = database.name
    made = Place(tmp_path)
    write_jsonl(made.source, DOCUMENTS)
    settings = corpus_settings(made.source, static_model, database=name)
    settings["mongodb"] = {"deployment": {"server": {"uri": mongodb_uri}}, "registry": name}
    settings["vector_store"]["allow_delete"] = True
    configs = [made.config("films", **settings)]
    write_pipeline(made.folder / "audit_pipelines", "films", configs)
    monkeypatch.syspath_prepend(made.folder)
    monkeypatch.setenv("EMBEDDINGS_HOME", str(made.folder / "state"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("DAGSTER_HOME")
    succeeds("run", PIPELINE)
    yield made
    for module in (PIPELINE, PIPELINE.split(".", maxsplit=1)[0]):
        sys.modules.pop(module, None)


@pytest.fixture
def vectors(database) -> Collection:
    return database["documents"]


def findings(*options: str) -> dict[str, int]:
    """What the audit finds: count by the words that name it."""
    result = embeddings("audit", PIPELINE, "--json", *options)
    found = json.loads(result.stdout)["findings"]
    assert result.exit_code == bool(found)
    return {finding["text"].split(":")[0]: finding["count"] for finding in found}


def embedded(vectors: Collection) -> int:
    spend = vectors.database["embedding_spend"].aggregate(
        [{"$group": {"_id": None, "texts": {"$sum": "$texts"}}}]
    )
    return sum(row["texts"] for row in spend)


def content(vectors: Collection) -> dict:
    return {d["_id"]: (d["embedding"], d["text"]) for d in vectors.find()}


def test_all_fits(place, vectors):
    assert "all fits" in succeeds("audit", PIPELINE)
    found = json.loads(succeeds("audit", PIPELINE, "--json"))
    assert [found[name] for name in ("chunks", "stored", "compared", "indexed")] == [6, 6, 6, 6]


def damage_other_vector(vectors: Collection) -> None:
    """As LangChain's store lets metadata do it."""
    wrong = to_bson(from_bson(vectors.find_one({"_id": "tide"})["embedding"]), "float32")
    vectors.update_one({"_id": "moth"}, {"$set": {"embedding": wrong}})


def damage_no_vector(vectors: Collection) -> None:
    vectors.update_one({"_id": "moth"}, {"$unset": {"embedding": ""}})


def damage_dtype(vectors: Collection) -> None:
    vector = from_bson(vectors.find_one({"_id": "moth"})["embedding"])
    vectors.update_one({"_id": "moth"}, {"$set": {"embedding": to_bson(vector, "array")}})


def damage_width(vectors: Collection) -> None:
    vector = from_bson(vectors.find_one({"_id": "moth"})["embedding"])
    short = to_bson(vector[:32], "float32")
    vectors.update_one({"_id": "moth"}, {"$set": {"embedding": short}})


DAMAGE = {
    "are not as embedded": damage_other_vector,
    "are without a vector": damage_no_vector,
    "are not stored as float32": damage_dtype,
    "are of another width": damage_width,
}


@pytest.mark.parametrize("words", DAMAGE)
def test_a_damaged_vector_is_written_anew_from_its_batch(words, place, vectors):
    before, spent = content(vectors), embedded(vectors)
    DAMAGE[words](vectors)
    assert findings() == {words: 1}
    assert findings("--repair") == {}
    assert content(vectors) == before
    assert embedded(vectors) == spent, "the provider was not asked"


def test_wiped_vectors_are_refilled_without_the_provider(place, vectors):
    before, spent = content(vectors), embedded(vectors)
    vectors.delete_many({})
    found = findings()
    assert found["have no vector"] == 6
    assert findings("--repair") == {}
    assert content(vectors) == before
    assert embedded(vectors) == spent


def test_what_the_source_lost_and_changed_is_found(place, vectors):
    changed = [{**DOCUMENTS[0], "text": "The tide has turned."}, *DOCUMENTS[1:-1]]
    write_jsonl(place.source, changed)
    assert findings() == {
        "have a vector of an older text": 1,
        "are stored but not in the source": 1,
    }
    spent = embedded(vectors)
    assert findings("--repair") == {}
    assert embedded(vectors) == spent + 1
    assert vectors.count_documents({}) == 5


def test_a_damaged_batch_file_is_removed_and_the_vectors_stay(place, vectors):
    before = content(vectors)
    (file,) = place.folder.glob("state/batch_store/batches/*/*.parquet")
    file.write_bytes(file.read_bytes()[:-50])
    assert findings() == {"batch files are damaged": 1}
    assert findings("--repair") == {}
    assert content(vectors) == before


def test_vectors_whose_batch_is_gone_are_looked_at_by_type_and_width(place, vectors):
    before, spent = content(vectors), embedded(vectors)
    (file,) = place.folder.glob("state/batch_store/batches/*/*.parquet")
    file.unlink()
    damage_width(vectors)
    vectors.update_one({"_id": "tide"}, {"$set": {"embedding": Binary(b"'", 9)}})
    assert findings() == {"are of another width": 1, "are without a vector": 1}
    assert findings("--repair") == {}
    assert content(vectors) == before
    assert embedded(vectors) == spent + 2


def test_a_finer_field_is_compared_as_well(place, vectors):
    override = place.config("finer", vector_store={"dtype": "int8", "rescore": "float32"})
    succeeds("run", PIPELINE, "-c", str(override))
    before = {d["_id"]: d["embedding_rescore"] for d in vectors.find()}
    wrong = to_bson(-from_bson(before["moth"]), "float32")
    vectors.update_one({"_id": "moth"}, {"$set": {"embedding_rescore": wrong}})
    assert findings("-c", str(override)) == {"are not as embedded": 1}
    assert findings("--repair", "-c", str(override)) == {}
    assert {d["_id"]: d["embedding_rescore"] for d in vectors.find()} == before


def test_a_source_gone_empty_is_told_and_not_repaired_without_leave(place, vectors):
    write_jsonl(place.source, DOCUMENTS[:1])
    override = place.config("careful", vector_store={"allow_delete": False})
    found = json.loads(embeddings("audit", PIPELINE, "--json", "-c", str(override)).stdout)
    (finding,) = found["findings"]
    assert (finding["count"], finding["text"]) == (5, "are stored but not in the source")
    assert finding["repaired"] == "deleted with `allow_delete: true`"
    refused = embeddings("audit", PIPELINE, "--repair", "-c", str(override))
    assert refused.exit_code == 1
    assert vectors.count_documents({}) == 6


def test_a_vector_that_is_not_ours_is_left_alone_and_named(place, vectors):
    vectors.insert_one({"_id": "stray", "embedding": [1.0, 2.0]})
    words = "have a vector without lineage"
    assert findings() == {words: 1}
    result = embeddings("audit", PIPELINE, "--repair", "--json")
    # The run's own check stops at it, and says which vectors are not ours.
    assert result.exit_code == 1
    assert vectors.find_one({"_id": "stray"})["embedding"] == [1.0, 2.0]


def test_an_index_that_lags_is_found(place, vectors):
    vectors.delete_one({"_id": "moth"})
    found = findings()
    assert found.pop("have no vector") == 1
    assert list(found.values()) == [1]
    assert findings("--repair") == {}
