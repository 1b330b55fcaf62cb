"""The four assets together, as Dagster runs them, on every kind of server."""

import time

import numpy as np
import pytest

from pipelines.framework.catalog import open_pipeline
from resources.core.chunks import hash_text
from resources.core.lane import Lane
from resources.core.vectors import from_bson
from resources.mongodb.lease import held
from resources.vector_store.writer import VectorWriter
from tests.models import build_static_model

FILMS = [
    {"_id": "titanic", "text": "the sinking of the largest luxury liner", "kind": "film"},
    {"_id": "lion-king", "text": "a lion cub searches for his identity", "kind": "film"},
    {"_id": "avatar", "text": "a marine is dispatched to the moon Pandora", "kind": "film"},
    {"_id": "dublin", "text": "the capital of Ireland on the river Liffey", "kind": "place"},
]


@pytest.fixture
def films(workshop):
    workshop.write(FILMS)
    return workshop


def test_a_first_run_makes_everything(films):
    run = films.run()
    assert run.success, run.failures
    assert run.checks == dict.fromkeys(
        [
            "few_in_quarantine",
            "batches_are_sound",
            "one_space",
            "vectors_as_embedded",
            "all_stored",
            "model_is_current",
            "index_is_complete",
            "candidate_batches_are_sound",
            "candidate_is_one_space",
            "candidate_is_all_stored",
            "candidate_index_is_complete",
            "may_serve",
        ],
        True,
    )
    assert run.source_documents["dagster/row_count"] == run.source_documents["new"] == 4
    assert run.embedding_batches["embedded"] == 4
    assert run.stored_vectors["vectors written"] == run.stored_vectors["vectors stored"] == 4
    assert run.search_index["vectors indexed"] == 4
    assert run.search_index["probes found"] == run.search_index["probes"] == 4
    stored = films.stored()
    assert {key: d["text"] for key, d in stored.items()} == {f["_id"]: f["text"] for f in FILMS}
    for document in stored.values():
        lineage = document["embedding_lineage"]
        assert lineage["space"] == run.source_documents["space"]
        assert lineage["text_hash"] == hash_text(document["text"])
        assert lineage["run"] == run.run_id
        assert lineage["pipeline"] == "films"
        assert lineage["batch"]
        vector = from_bson(document["embedding"])
        assert vector.shape == (64,)
        assert np.isclose(np.linalg.norm(vector), 1, atol=1e-5)
    with open_pipeline(films.pipeline) as opened:
        space = opened.registry.spaces.get(run.source_documents["space"])
        assert space == opened.embedder.space()


def test_a_second_run_does_nothing(films):
    first = films.run()
    before = films.stored()
    run = films.run()
    assert run.success
    assert run.source_documents["unchanged"] == 4
    assert run.embedding_batches["embedded"] == 0
    assert run.embedding_batches["embedding batches written"] == 0
    assert run.stored_vectors["vectors written"] == 0
    assert run.search_index["rebuilt"] is False
    assert films.stored() == before
    assert first.run_id != run.run_id


def test_a_run_without_changes_loads_no_model(films, monkeypatch):
    films.run()
    from resources.embedders.sentence_transformers import SentenceTransformersProvider

    monkeypatch.setattr(SentenceTransformersProvider, "load", lambda *_: pytest.fail("loaded"))
    assert films.run().success


def test_changes_cost_only_themselves(films):
    first = films.run()
    changed = [dict(film) for film in FILMS if film["_id"] != "lion-king"]
    changed[0]["text"] = "a ship hits an iceberg"
    changed[1]["kind"] = "movie"
    films.write([*changed, {"_id": "cork", "text": "a city in the south", "kind": "place"}])
    films.configure({"vector_store": {"max_delete_fraction": 0.5}})
    run = films.run()
    assert run.success, run.failures
    counts = run.source_documents
    names = ("new", "changed", "unchanged", "fields changed", "deleted", "to embed")
    assert [counts[name] for name in names] == [1, 1, 1, 1, 1, 2]
    assert run.embedding_batches["embedded"] == 2
    stored = films.stored()
    assert sorted(stored) == ["avatar", "cork", "dublin", "titanic"]
    assert stored["titanic"]["text"] == "a ship hits an iceberg"
    assert stored["titanic"]["embedding_lineage"]["run"] == run.run_id
    assert stored["avatar"]["kind"] == "movie"
    assert stored["avatar"]["embedding_lineage"]["run"] == first.run_id, "it was not embedded again"
    assert [hit.id for hit in films.search("lion", limit=9).hits] != []
    assert "lion-king" not in {hit.id for hit in films.search("lion cub", limit=9).hits}


def test_what_vanished_is_there_until_the_new_is_stored(films, monkeypatch):
    """LlamaIndex deletes a document's old vectors before it has the new ones."""
    films.run()
    before = films.stored()
    films.write([{**FILMS[0], "text": "a ship hits an iceberg"}, *FILMS[1:3]])
    films.configure({"vector_store": {"max_delete_fraction": 0.5}})
    monkeypatch.setattr(VectorWriter, "write", lambda *_: 1 / 0)
    assert not films.run().success
    assert films.stored() == before
    monkeypatch.undo()
    assert films.run().success
    assert sorted(films.stored()) == ["avatar", "lion-king", "titanic"]


def test_a_moved_text_takes_its_vector_along(films):
    films.run()
    before = films.stored()
    swapped = [dict(film) for film in FILMS]
    swapped[0]["text"], swapped[1]["text"] = swapped[1]["text"], swapped[0]["text"]
    films.write(swapped)
    run = films.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    after = films.stored()
    assert after["titanic"]["embedding"] == before["lion-king"]["embedding"]
    assert after["lion-king"]["embedding"] == before["titanic"]["embedding"]


def test_a_text_still_in_the_store_is_copied_when_batches_are_gone(films):
    films.run()
    before = films.stored()
    films.configure({"batch_store": {"url": str(films.folder / "another")}})
    films.write([*FILMS, {"_id": "again", "text": FILMS[0]["text"]}])
    run = films.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    assert run.embedding_batches["vectors copied"] == 1
    copied = films.stored()["again"]
    assert copied["embedding"] == before["titanic"]["embedding"]
    made = copied["embedding_lineage"]
    assert made["run"] == before["titanic"]["embedding_lineage"]["run"], "who made it stays known"


def test_a_wiped_collection_is_refilled_from_batches(films):
    films.run()
    before = {key: document["embedding"] for key, document in films.stored().items()}
    films.vectors.drop()
    run = films.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    assert {key: d["embedding"] for key, d in films.stored().items()} == before


def test_duplicate_texts_are_embedded_once(films):
    films.write([{"_id": n, "text": "one text for all", "kind": "film"} for n in range(30)])
    run = films.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 1
    assert run.stored_vectors["vectors stored"] == 30
    assert len({bytes(document["embedding"]) for document in films.stored().values()}) == 1


def test_bad_records_go_to_quarantine_and_the_rest_goes_on(films):
    lines = [
        '{"_id": "good", "text": "a good text", "kind": "film"}',
        '{"_id": "empty", "text": ""}',
        '{"_id": "blank", "text": "  \\n "}',
        '{"_id": "missing"}',
        '{"_id": "number", "text": 42}',
        '{"_id": "good", "text": "the same id again"}',
        '{"text": "no id"}',
        "not json at all",
        '{"_id": "better", "text": "another good text"}',
    ]
    films.source.write_bytes("\n".join(lines).encode() + b'\n{"_id": "enc", "text": "\xff"}\n')
    run = films.run()
    assert run.success, run.failures
    assert run.source_documents["rejected now"] == 8
    assert sorted(films.stored()) == ["better", "good"]
    assert films.stored()["good"]["text"] == "a good text"
    assert run.checks["few_in_quarantine"] is False
    assert run.checks["all_stored"] is True
    reasons = films.quarantine()
    assert "empty" in reasons["empty"]
    assert "whitespace" in reasons["blank"]
    assert "missing" in reasons["missing"]
    assert "same id" in reasons["good"]
    assert len(reasons) == 8
    assert any("JSON" in reason for reason in reasons.values())
    # they heal by themselves, and leave
    films.write([{"_id": "empty", "text": "no longer empty"}, {"_id": "good", "text": "g"}])
    films.configure({"vector_store": {"allow_delete": True}})
    healed = films.run()
    assert healed.success, healed.failures
    assert healed.source_documents["left quarantine"] == 8
    assert films.quarantine() == {}


@pytest.mark.parametrize("normalize", [True, False])
def test_a_text_without_a_known_token_costs_no_other(films, normalize):
    """A static model makes zeros of it, which an index by cosine leaves out in silence."""
    model = films.settings["embedder"]["provider"]["sentence_transformers"]
    model["normalize"] = normalize
    films.configure({"search_index": {"similarity": "cosine"}})
    films.write([*FILMS, {"_id": "bell", "text": "\u0007"}, {"_id": "gap", "text": "\u200b"}])
    run = films.run()
    assert run.success, run.failures
    assert sorted(films.stored()) == sorted(film["_id"] for film in FILMS)
    reasons = films.quarantine()
    assert sorted(reasons) == ["bell", "gap"]
    assert "nothing but zeros" in reasons["bell"]
    with pytest.raises(Exception, match="has no token that static knows"):
        films.search("\u200b")
    films.write([*FILMS, {"_id": "bell", "text": "a bell rings"}])
    assert films.run().source_documents["left quarantine"] == 2


@pytest.mark.parametrize("first", [True, False])
def test_of_an_id_that_stands_twice_a_refused_text_is_not_asked_for_again(films, first):
    twins = [{"_id": "bell", "text": "\u0007"}, {"_id": "bell", "text": "\u0008"}]
    films.write([*FILMS, *(twins if first else reversed(twins))])
    assert films.run().embedding_batches["refused by the provider"] == 1
    with open_pipeline(films.pipeline) as opened:
        found = opened.registry.quarantine.find(films.name, "bell")
        reasons = [each.reason for each in opened.registry.quarantine.entries(films.name)]
    assert len(found) == len(reasons) == 2
    assert sum("same id" in reason for reason in reasons) == 1
    again = films.run()
    assert again.source_documents["refused before"] == 1
    assert again.source_documents["to embed"] == 0
    assert again.embedding_batches["refused by the provider"] == 0
    films.write([*FILMS, {"_id": "bell", "text": "a bell rings"}])
    assert films.run().source_documents["left quarantine"] == 2
    assert films.quarantine() == {}


def test_a_text_that_no_document_holds_costs_no_other(films):
    films.write([*FILMS, {"_id": "book", "text": "word " * 3_500_000}])
    run = films.run()
    assert run.success, run.failures
    assert sorted(films.stored()) == sorted(film["_id"] for film in FILMS)
    assert "17.5 MB, more than a MongoDB document holds" in films.quarantine()["book"]


def test_an_empty_source_stops_and_changes_nothing(films):
    films.run()
    before = films.stored()
    films.write([])
    run = films.run()
    assert not run.success
    assert "4 of 4 stored chunks are not in the source any more" in run.failures[0]
    assert films.stored() == before
    assert films.search("a ship").hits


def test_another_model_replaces_the_space_where_that_is_wanted_and_never_mixes(films, tmp_path):
    first = films.run()
    films.configure({"model_change": {"mode": "replace", "allow_replace": True}})
    other = build_static_model(tmp_path / "other", dimensions=64, seed=7)
    films.configure({"embedder": {"provider": {"sentence_transformers": {"model": str(other)}}}})
    # the index still holds the old space: queries are embedded there for as long as it does
    assert films.search("a ship").space.model == "static"
    run = films.run()
    assert run.success, run.failures
    assert run.source_documents["replaces spaces"] == {first.source_documents["space"]: 4}
    assert run.embedding_batches["embedded"] == 4
    assert {d["embedding_lineage"]["space"] for d in films.stored().values()} == {
        run.source_documents["space"]
    }
    while films.search("a ship").space.model != "other":  # a searcher looks every now and then
        time.sleep(0.05)


def test_vectors_of_two_spaces_block_the_index(films):
    films.run()
    stranger = films.stored()["avatar"]
    stranger["_id"] = "stranger"
    stranger["embedding_lineage"] |= {"space": "another-64", "pipeline": "another"}
    films.vectors.insert_one(stranger)
    run = films.run()
    assert not run.success
    assert run.checks["one_space"] is False
    assert "search_index" not in run.metadata, "no index over two spaces"


def test_search_filters_and_refuses(films):
    films.run()
    hits = films.search("a city on a river", filter={"kind": "place"}).hits
    assert [hit.id for hit in hits] == ["dublin"]
    assert hits[0].fields == {"kind": "place"}
    assert hits[0].lineage["model"] == "static"
    scores = [hit.score for hit in films.search("the sinking of the largest luxury liner").hits]
    assert scores[0] == pytest.approx(1.0, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    exact = films.search("a marine", exact=True, limit=2)
    assert exact.hits[0].id == "avatar"
    for options, message in (
        ({"filter": {"colour": "red"}}, "colour"),
        ({"filter": {"kind": {"$regex": "f"}}}, "regex"),
        ({"limit": 0}, "at least one"),
    ):
        with pytest.raises(Exception, match=message):
            films.search("x", **options)
    with pytest.raises(Exception, match="query is empty"):
        films.search("  ")


def test_search_before_the_first_run_says_what_to_do(films):
    with pytest.raises(Exception, match=r"has no index .* yet: materialize it first"):
        films.search("anything")


def test_a_killed_embedding_step_goes_on_where_it_was(films, monkeypatch):
    films.write([{"_id": n, "text": f"text number {n}"} for n in range(50)])
    films.configure({"embedder": {"max_batch_chunks": 10}})
    from resources.embedders.sentence_transformers import SentenceTransformersEmbedder

    embed, calls = SentenceTransformersEmbedder.embed, []

    def dies_at_the_fourth(self, texts, *, input_type):
        calls.append(len(texts))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return embed(self, texts, input_type=input_type)

    monkeypatch.setattr(SentenceTransformersEmbedder, "embed", dies_at_the_fourth)
    assert not films.run().success
    assert films.vectors.count_documents({}) == 0
    # the source moves on meanwhile, so that the batches' borders would fall elsewhere
    films.write([{"_id": n, "text": f"text number {n}"} for n in range(5, 60)])
    run = films.run()
    assert run.success, run.failures
    assert run.source_documents["vectors reused"] == 25
    assert run.embedding_batches["embedded"] == 30
    assert len(films.stored()) == 55


@pytest.fixture
def airbnb(workshop):
    """MongoDB's sample collection in small: some listings lack a summary."""
    listings = workshop.client[workshop.database]["listingsAndReviews"]
    rows = [
        {"_id": str(1000 + n), "summary": f"flat {n} near the beach", "bedrooms": n % 3}
        for n in range(12)
    ]
    rows += [{"_id": "none"}, {"_id": "null", "summary": None}, {"_id": "empty", "summary": ""}]
    listings.insert_many(rows)
    workshop.name = "airbnb"
    workshop.configure(
        {
            "source": {
                "origin": {
                    "collection": {
                        "database": workshop.database,
                        "collection": "listingsAndReviews",
                        "filter": {"summary": {"$exists": True, "$nin": [None, ""]}},
                    }
                },
                "text": "summary",
                "carry": [],
                "limit": 10,
            },
            "search_index": {"filter_fields": ["bedrooms"]},
        }
    )
    del (
        workshop.settings["vector_store"]["database"],
        workshop.settings["vector_store"]["collection"],
    )
    workshop.configure({"vector_store": {"in_place": True}})
    return workshop


def test_existing_documents_get_their_vectors_in_place(airbnb):
    listings = airbnb.client[airbnb.database]["listingsAndReviews"]
    before = {d["_id"]: d for d in listings.find()}
    run = airbnb.run()
    assert run.success, run.failures
    assert run.stored_vectors["vectors stored"] == 10
    after = {d["_id"]: d for d in listings.find()}
    assert sorted(after) == sorted(before)
    added = {"embedding", "embedding_lineage"}
    for key, document in after.items():
        kept = {name: value for name, value in document.items() if name not in added}
        assert kept == before[key]
    assert sum("embedding" in document for document in after.values()) == 10
    again = airbnb.run()
    assert again.source_documents["unchanged"] == 10
    assert again.embedding_batches["embedded"] == 0
    hits = airbnb.search("flat 3 near the beach", filter={"bedrooms": 0}).hits
    assert hits[0].id == "1003"
    assert hits[0].text == "flat 3 near the beach"


def test_in_place_a_document_without_room_for_a_vector_costs_no_other(airbnb):
    listings = airbnb.client[airbnb.database]["listingsAndReviews"]
    listings.update_one({"_id": "1003"}, {"$set": {"pad": "x" * (16 * 1024**2 - 300)}})
    run = airbnb.run()
    assert run.success, run.failures
    assert listings.count_documents({"embedding": {"$exists": True}}) == 9
    assert "no room for a vector" in airbnb.quarantine()["1003"]
    assert all(run.checks[name] for name in ("all_stored", "index_is_complete"))
    listings.update_one({"_id": "1003"}, {"$unset": {"pad": ""}})
    again = airbnb.run()
    assert again.embedding_batches["embedded"] == 0
    assert listings.count_documents({"embedding": {"$exists": True}}) == 10


def test_in_place_a_summary_that_went_loses_its_vector(airbnb):
    airbnb.configure({"source": {"limit": 100}})
    airbnb.run()
    listings = airbnb.client[airbnb.database]["listingsAndReviews"]
    listings.update_one({"_id": "1001"}, {"$set": {"summary": ""}})
    listings.update_one({"_id": "1002"}, {"$set": {"summary": "a house in the mountains"}})
    run = airbnb.run()
    assert run.success, run.failures
    assert (run.source_documents["changed"], run.source_documents["deleted"]) == (1, 1)
    gone = listings.find_one({"_id": "1001"})
    assert gone == {"_id": "1001", "summary": "", "bedrooms": 1}
    assert airbnb.search("a house in the mountains").hits[0].id == "1002"


def test_two_runs_of_one_pipeline_never_work_at_once(workshop):
    workshop.write([{"_id": 1, "text": "one"}])
    workshop.configure({"mongodb": {"lease_wait_seconds": 0}})
    with held(
        workshop.client, workshop.database, Lane("films", "any"), "r1", seconds=30, wait_seconds=0
    ):
        refused = workshop.run()
    assert "run r1 (process" in refused.failures[0]
    assert not refused.metadata
    assert not workshop.stored()
    done = workshop.run()
    assert done.success
    (leased,) = workshop.client[workshop.database]["embedding_leases"].find()
    assert leased["run"] is None, "the last asset lets go"
    assert workshop.stored()[1]["embedding_lineage"]["token"] == leased["token"]
    # an asset by itself is a run as well, and lets go too
    assert workshop.run("source_documents").success
    assert workshop.run("stored_vectors").success


def damage(workshop) -> None:
    """Turn some bytes in the middle of every batch file; its footer still reads well."""
    for file in workshop.folder.glob("batch_store/batches/*/*.parquet"):
        content = bytearray(file.read_bytes())
        middle = len(content) // 4
        content[middle : middle + 64] = bytes(byte ^ 0xFF for byte in content[middle : middle + 64])
        file.write_bytes(content)


def test_a_damaged_batch_is_made_again(workshop):
    workshop.write([{"_id": n, "text": f"text {n}"} for n in range(50)])
    assert workshop.run().success
    before = {key: document["embedding"] for key, document in workshop.stored().items()}
    damage(workshop)
    workshop.vectors.delete_many({})
    again = workshop.run()
    assert again.success
    assert again.embedding_batches["embedded"] == 50
    assert {key: document["embedding"] for key, document in workshop.stored().items()} == before


def test_a_batch_damaged_before_it_was_stored_is_made_again(workshop):
    workshop.write([{"_id": n, "text": f"text {n}"} for n in range(50)])
    assert workshop.run("source_documents", "embedding_batches").success
    damage(workshop)
    failed = workshop.run("stored_vectors")
    assert "is damaged" in failed.failures[0]
    assert "materialize the whole pipeline" in failed.failures[0]
    assert not workshop.stored()
    assert workshop.run("embedding_batches", "stored_vectors").embedding_batches["embedded"] == 50
    assert len(workshop.stored()) == 50
