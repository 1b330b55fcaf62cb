"""Whole runs beside documents and vectors of others: nothing of theirs is touched."""

import dataclasses

import bson
import pytest

from pipelines.operations.plan import dry_run
from resources.core.errors import ConfigurationError
from tests.workshop import Workshop


def sibling(workshop: Workshop, tmp_path, name: str, **store) -> Workshop:
    """Another pipeline over the same collection, with a source of its own."""
    folder = tmp_path / name
    folder.mkdir()
    made = Workshop(folder, workshop.uri, workshop.database, workshop.model, name=name)
    made.configure({"vector_store": store, "search_index": {"name": name}})
    return made


def texts(count: int, word: str = "text") -> list[dict]:
    return [{"_id": f"d{n}", "text": f"{word} number {n}", "kind": "film"} for n in range(count)]


def in_collection(workshop: Workshop, name: str, **settings) -> None:
    origin = {"collection": {"database": workshop.database, "collection": name, **settings}}
    workshop.configure({"source": {"origin": origin, "carry": []}})


def spent(workshop: Workshop) -> int:
    return len(list(workshop.folder.glob("batch_store/batches/*/*.parquet")))


# --- the source's own collection


def test_the_sources_own_collection_is_no_place_for_vectors_unless_in_place(workshop):
    in_collection(workshop, "articles")
    workshop.configure({"vector_store": {"collection": "articles"}})
    with pytest.raises(ConfigurationError, match="`in_place: true`"):
        workshop.pipeline.definitions()


@pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)
@pytest.mark.parametrize("views", [1, 2])
def test_nor_is_it_through_a_view(workshop, views):
    database = workshop.client[workshop.database]
    database.articles.insert_many([{"_id": n, "text": f"t{n}", "owner": "me"} for n in range(5)])
    database.create_collection("view1", viewOn="articles", pipeline=[{"$match": {"_id": 1}}])
    database.create_collection("view2", viewOn="view1", pipeline=[])
    before = list(database.articles.find())
    in_collection(workshop, f"view{views}")
    workshop.configure({"vector_store": {"collection": "articles"}})
    (sentence,) = workshop.run().failures
    assert "is a view over" in sentence
    with pytest.raises(ConfigurationError, match="is a view over"):
        dry_run(workshop.pipeline)
    assert list(database.articles.find()) == before
    assert spent(workshop) == 0


@pytest.mark.parametrize(
    "condition",
    [
        {"embedding": {"$exists": False}},
        {"embedding_lineage": None},
        {"$and": [{"a": 1}, {"$or": [{"b": 2}, {"embedding_lineage.space": {"$ne": "x"}}]}]},
        {"$expr": {"$not": ["$embedding"]}},
        {"$nor": [{"embedding": {"$ne": None}}]},
    ],
)
def test_a_filter_over_what_the_run_writes_is_refused_when_it_loads(workshop, condition):
    in_collection(workshop, "articles", filter=condition)
    store = {"in_place": True, "collection": "articles"}
    workshop.configure({"vector_store": store})
    with pytest.raises(ConfigurationError, match="a run finds by itself what is new"):
        workshop.pipeline.definitions()


@pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)
@pytest.mark.parametrize("in_place", [True, False])
def test_a_time_series_collection_is_refused_before_anything_is_spent(workshop, in_place):
    from datetime import datetime

    database = workshop.client[workshop.database]
    database.create_collection("ts", timeseries={"timeField": "t"})
    database.ts.insert_many([{"t": datetime(2024, 1, n + 1), "text": f"t{n}"} for n in range(4)])
    in_collection(workshop, "ts")
    if in_place:
        workshop.configure({"vector_store": {"in_place": True, "collection": "ts"}})
    (sentence,) = workshop.run().failures
    assert "time-series collection" in sentence
    assert spent(workshop) == 0


# --- several pipelines, one collection


def test_two_paths_of_one_collection_do_not_touch_each_other(workshop, tmp_path):
    green = sibling(workshop, tmp_path, "green", path="embedding_v2")
    workshop.write(texts(5))
    green.write(texts(5))
    assert workshop.run().success
    blue = workshop.stored()
    assert green.run().success
    assert all("embedding_v2" in document for document in workshop.stored().values())
    green.write(texts(4))
    assert green.run().success
    after = workshop.stored()
    assert {name: document["embedding"] for name, document in after.items()} == {
        name: document["embedding"] for name, document in blue.items()
    }
    assert [name for name, d in after.items() if "embedding_v2" in d] == ["d0", "d1", "d2", "d3"]
    # Gone for both, it is gone; and green's vectors stay when blue's go.
    workshop.write(texts(3))
    assert workshop.run(config=allowing()).success
    assert sorted(workshop.stored()) == ["d0", "d1", "d2", "d3"]
    assert "embedding" not in workshop.stored()["d3"]
    green.write(texts(3))
    assert green.run(config=allowing()).success
    assert sorted(workshop.stored()) == ["d0", "d1", "d2"]


def allowing() -> dict:
    return {"resources": {"vector_store": {"config": {"allow_delete": True}}}}


def test_an_id_that_another_pipeline_owns_is_set_aside(workshop, tmp_path):
    faq = sibling(workshop, tmp_path, "faq")
    workshop.write(texts(5, "article"))
    assert workshop.run().success
    before = workshop.stored()
    faq.write([*texts(5, "faq"), {"_id": "own", "text": "a question"}])
    for _ in range(2):
        run = faq.run()
        assert run.success, run.failures
        assert run.embedding_batches["embedded"] <= 1, "nothing is paid for what cannot be stored"
    held = faq.quarantine()
    assert sorted(held) == [f"d{n}" for n in range(5)]
    assert all("pipeline films" in reason for reason in held.values())
    after = workshop.stored()
    assert {name: after[name] for name in before} == before
    assert sorted(set(after) - set(before)) == ["own"]
    for version in range(2):
        workshop.write(texts(5, f"article {version}"))
        assert workshop.run().success
        assert faq.run().success
    assert {document["text"] for name, document in workshop.stored().items()} == {
        "a question", *(f"article 1 number {n}" for n in range(5))
    }  # fmt: skip
    # What its owner lets go is free.
    workshop.write(texts(3, "article 1"))
    assert workshop.run(config=allowing()).success
    assert faq.run().success
    assert sorted(faq.quarantine()) == ["d0", "d1", "d2"]
    assert workshop.stored()["d4"]["text"] == "faq number 4"


def test_another_space_on_the_path_of_another_pipeline_is_refused(
    workshop, tmp_path, openai_api, monkeypatch
):
    workshop.write(texts(3))
    assert workshop.run().success
    other = sibling(workshop, tmp_path, "other")
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    provider = {"openai": {"model": "m", "dimensions": 16, "base_url": openai_api.url}}
    other.configure({"embedder": {"provider": provider}})
    other.write([{"_id": "x", "text": "x"}])
    (sentence,) = other.run().failures
    assert "made by the pipeline films" in sentence
    assert "one path holds one space" in sentence
    with pytest.raises(ConfigurationError, match="one path holds one space"):
        dry_run(other.pipeline)
    assert not openai_api.requests
    assert sorted(workshop.stored()) == ["d0", "d1", "d2"]


def test_another_format_on_the_path_of_another_pipeline_is_refused(workshop, tmp_path):
    workshop.write(texts(3))
    assert workshop.run().success
    other = sibling(workshop, tmp_path, "other", dtype="int8")
    other.write([{"_id": "x", "text": "x"}])
    (sentence,) = other.run().failures
    assert "same `dtype`" in sentence


# --- what was there before


def test_documents_that_were_there_are_set_aside(workshop):
    theirs = [{"_id": "d1", "text": "mine", "tags": ["a"]}, {"_id": "zzz", "owner": "me"}]
    workshop.vectors.insert_many(theirs)
    workshop.write(texts(3))
    for _ in range(2):
        run = workshop.run()
        assert run.success, run.failures
    assert [workshop.stored()[d["_id"]] for d in theirs] == theirs
    assert list(workshop.quarantine()) == ["d1"]
    workshop.write([])
    assert not workshop.run().success
    workshop.write([{"_id": "new", "text": "x"}])
    assert workshop.run(config=allowing()).success
    assert [workshop.stored()[d["_id"]] for d in theirs] == theirs


@pytest.mark.parametrize("value", [[0.1] * 5, "text", {"a": 1}])
def test_a_vector_that_is_not_ours_is_refused_or_adopted(workshop, value):
    articles = workshop.client[workshop.database]["articles"]
    articles.insert_many(
        [{"_id": n, "text": f"older work {n}", "owner": "me", "embedding": value} for n in range(3)]
        + [{"_id": 9, "text": "nothing yet", "embedding": None}]
    )
    before = {document["_id"]: document for document in articles.find()}
    in_collection(workshop, "articles")
    workshop.configure({"vector_store": {"in_place": True, "collection": "articles"}})
    (sentence,) = workshop.run().failures
    assert "`vector_store: {adopt: true}`" in sentence
    assert spent(workshop) == 0
    assert {document["_id"]: document for document in articles.find()} == before
    workshop.configure({"vector_store": {"adopt": True}})
    run = workshop.run()
    assert run.success, run.failures
    for document in articles.find():
        assert isinstance(document["embedding"], bson.Binary)
        ours = ("embedding", "embedding_lineage")
        left = {name: value for name, value in document.items() if name not in ours}
        assert left == {k: v for k, v in before[document["_id"]].items() if k != "embedding"}


def test_in_a_collection_of_vectors_too(workshop):
    workshop.vectors.insert_many([{"_id": "d1", "embedding": [1.0], "note": 1}, {"_id": "x"}])
    workshop.write(texts(3))
    (sentence,) = workshop.run().failures
    assert "`adopt: true`" in sentence
    workshop.configure({"vector_store": {"adopt": True}})
    assert workshop.run().success
    assert workshop.stored()["d1"]["note"] == 1
    assert workshop.stored()["x"] == {"_id": "x"}
    workshop.write(texts(1))
    assert workshop.run(config=allowing()).success
    left = workshop.stored()
    assert sorted(left) == ["d0", "d1", "x"], "what we did not insert is not deleted"
    assert "embedding" not in left["d1"]


# --- stores from before documents were marked


def unmark(workshop: Workshop) -> None:
    workshop.vectors.update_many({}, {"$unset": {"embedding_inserted_by": ""}})
    workshop.client[workshop.database]["vector_store_claims"].drop()


def test_a_store_from_before_there_was_a_mark_is_marked_by_the_first_run(workshop):
    workshop.write(texts(6))
    assert workshop.run().success
    unmark(workshop)
    workshop.vectors.update_one({"_id": "d5"}, {"$set": {"reviewed": True}})
    workshop.write(texts(4))
    run = workshop.run(config=allowing())
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    left = workshop.stored()
    assert sorted(left) == ["d0", "d1", "d2", "d3", "d5"]
    assert left["d5"]["reviewed"]
    assert "embedding" not in left["d5"]
    assert all(left[f"d{n}"]["embedding_inserted_by"] == "films" for n in range(4))


def test_what_is_no_longer_carried_goes_and_another_shape_is_written(workshop):
    workshop.configure({"source": {"carry": ["kind", "address", "phone"]}})
    rows = [
        {"_id": n, "text": f"t{n}", "kind": "a", "phone": f"555-{n}", "address": "Rome"}
        for n in range(3)
    ]
    workshop.write(rows)
    assert workshop.run().success
    workshop.configure({"source": {"carry": ["kind", "address.city", "address.zip"]}})
    workshop.write([{**row, "address": {"city": "Rome", "zip": 1, "x": 2}} for row in rows])
    run = workshop.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    for document in workshop.stored().values():
        assert "phone" not in document
        assert document["address"] == {"city": "Rome", "zip": 1}
    workshop.configure({"source": {"carry": ["address"]}})
    workshop.write([{**row, "address": ["Rome"]} for row in rows])
    assert workshop.run().success
    assert all(d["address"] == ["Rome"] for d in workshop.stored().values())
    assert all("kind" not in d for d in workshop.stored().values())
    assert workshop.run().stored_vectors["fields refreshed"] == 0


# --- ids


def test_an_id_of_another_number_type_is_the_same_id(workshop):
    def lines(form: str) -> str:
        return "\n".join(f'{{"_id": {form % n}, "text": "ticket {n}"}}' for n in range(5))

    workshop.source.write_text(lines("%d.0"))
    assert workshop.run().success
    workshop.source.write_text(lines("%d"))
    run = workshop.run()
    assert run.success
    assert not any(run.source_documents[name] for name in ("new", "changed", "deleted"))
    workshop.source.write_text(lines("%d") + "\n" + '{"_id": 3.0, "text": "another"}')
    run = workshop.run()
    assert run.success
    assert workshop.quarantine() == {
        "3.0": "another record of the source has the same id; the first one counts"
    }


# --- documents that MongoDB refuses


def test_a_document_that_mongodb_refuses_costs_no_other(workshop):
    listings = workshop.client[workshop.database]["listings"]
    rows = [{"_id": n, "text": f"listing {n}", "ai": {}} for n in range(6)]
    rows[2]["ai"] = 5
    listings.insert_many(rows)
    in_collection(workshop, "listings")
    store = {"in_place": True, "collection": "listings", "path": "ai.vec"}
    workshop.configure({"vector_store": store})
    for _ in range(2):
        run = workshop.run()
        assert run.success, run.failures
        assert run.search_index["vectors indexed"] == 5
        assert list(workshop.quarantine()) == ["2"]
        assert not [
            name for name, ok in run.checks.items() if not ok and name != "few_in_quarantine"
        ]
    listings.update_one({"_id": 2}, {"$set": {"ai": {}}})
    assert workshop.run().success
    assert workshop.quarantine() == {}


@pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)
def test_a_validator_and_a_unique_index_cost_the_documents_they_name(workshop):
    database = workshop.client[workshop.database]
    schema = {"$jsonSchema": {"properties": {"kind": {"enum": ["film"]}}}}
    database.create_collection("vectors", validator=schema)
    workshop.vectors.create_index("text", unique=True)
    rows = [*texts(5), {"_id": "bad", "text": "not valid", "kind": "other"}]
    workshop.write([*rows, {"_id": "twin", "text": "text number 1", "kind": "film"}])
    run = workshop.run()
    assert run.success, run.failures
    assert set(workshop.quarantine()) < {"bad", "twin", "d1"}
    assert len(workshop.quarantine()) == 2
    assert len(workshop.stored()) == 5
    assert dataclasses.asdict(dry_run(workshop.pipeline).counts)["set_aside"] == 0


# --- what cannot be read costs no other


def test_lines_that_cannot_be_told_apart_delete_nothing(workshop):
    rows = ["_id,text", *(f"{n},text number {n}" for n in range(6))]
    file = workshop.folder / "rows.csv"
    workshop.configure({"source": {"origin": {"csv": {"path": str(file)}}, "carry": []}})
    file.write_text("\n".join(rows) + "\n")
    assert workshop.run().success
    rows[2] = '1,"a quote that opens and never closes'
    file.write_text("\n".join(rows) + "\n")
    run = workshop.run(config=allowing())
    assert run.success, run.failures
    assert sorted(workshop.stored()) == [str(n) for n in range(6)], "they may all be there still"
    rows[2] = "1,mended"
    file.write_text("\n".join(rows[:5]) + "\n")
    assert workshop.run(config=allowing()).success
    assert sorted(workshop.stored()) == [str(n) for n in range(4)]


@pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)
def test_dates_that_python_cannot_hold_are_kept_also_as_ids(workshop):
    from bson.datetime_ms import DatetimeMS

    far = DatetimeMS(253_402_300_800_000)
    rows = [{"_id": far, "text": "a far id"}, {"_id": 1, "text": "carried", "until": far}]
    workshop.client[workshop.database]["contracts"].insert_many(rows)
    in_collection(workshop, "contracts")
    workshop.configure({"source": {"carry": ["until"]}})
    for _ in range(2):
        run = workshop.run()
        assert run.success, run.failures
        assert run.stored_vectors["vectors stored"] == 2
    assert workshop.vectors.find_one({"until": far}, {"_id": 1}) == {"_id": 1}
    assert workshop.vectors.count_documents({"_id": far}) == 1
    assert workshop.search("far id").hits
