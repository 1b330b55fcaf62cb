"""Whole runs with every stored format: from batches, searched, changed without embedding."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bson.binary import BinaryVectorDtype

from resources.core.errors import ConfigurationError, QueryRefused
from resources.core.vectors import from_bson
from tests.workshop import Workshop

DTYPES = {
    "float32": BinaryVectorDtype.FLOAT32,
    "int8": BinaryVectorDtype.INT8,
    "packed_bit": BinaryVectorDtype.PACKED_BIT,
}
TEXTS = [f"{colour} {thing}" for colour in ("red", "green", "blue") for thing in ("boat", "hat")]


@pytest.fixture
def workshop(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write([{"_id": n, "text": text, "kind": "thing"} for n, text in enumerate(TEXTS)])
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def store_as(workshop: Workshop, dtype: str, rescore: str = "none") -> None:
    similarity = "euclidean" if dtype == "packed_bit" else "dotProduct"
    workshop.configure(
        {
            "vector_store": {"dtype": dtype, "rescore": rescore},
            "search_index": {"similarity": similarity},
        }
    )


@pytest.mark.parametrize("dtype", ["float32", "int8", "packed_bit", "array"])
def test_every_format_is_written_from_batches_and_found(workshop, dtype):
    first = workshop.run()
    assert first.embedding_batches["embedded"] == len(TEXTS)
    exact = {key: from_bson(row["embedding"]) for key, row in workshop.stored().items()}
    store_as(workshop, dtype)
    run = workshop.run()
    assert run.success, run.failures
    assert all(run.checks.values())
    assert run.embedding_batches["embedded"] == 0
    assert run.source_documents["to store in another format"] == (
        0 if dtype == "float32" else len(TEXTS)
    )
    for key, row in workshop.stored().items():
        stored, lineage = row["embedding"], row["embedding_lineage"]
        assert lineage["stored_as"] == dtype
        assert lineage["run"] == first.run_id  # who made the vector has not changed
        if dtype == "array":
            assert stored == pytest.approx(exact[key].tolist())
        else:
            assert stored.as_vector().dtype is DTYPES[dtype]
    for number, text in enumerate(TEXTS):
        assert workshop.search(text, limit=1).hits[0].id == number
    assert workshop.run().stored_vectors["vectors written"] == 0


def test_int8_has_one_scale_for_the_space_and_counts_what_it_clips(workshop):
    store_as(workshop, "int8")
    run = workshop.run()
    assert run.stored_vectors["values clipped to int8"] == 0
    space = workshop.client[workshop.database]["embedding_spaces"].find_one()
    vectors = np.array([from_bson(row["embedding"]) for row in workshop.stored().values()])
    assert np.abs(vectors).max() == 127
    # later texts do not move the scale, or old and new could not be compared
    workshop.write([{"_id": 99, "text": "boat", "kind": "thing"}])
    workshop.configure({"vector_store": {"allow_delete": True}})
    workshop.run()
    after = workshop.client[workshop.database]["embedding_spaces"].find_one()
    assert after["int8_scale"] == space["int8_scale"]


def test_an_index_of_which_is_not_noted_how_it_was_stored_is_refused_by_a_search(workshop):
    """As an earlier version has noted it."""
    workshop.run()
    store_as(workshop, "int8")
    indexes = workshop.client[workshop.database]["search_indexes"]
    assert indexes.update_many({}, {"$unset": {"stored_as": 1}}).modified_count == 1
    with pytest.raises(QueryRefused, match="holds no vector stored as int8 yet: materialize"):
        workshop.search("red hat")


@pytest.mark.parametrize("rescore", ["int8", "float32"])
def test_bits_are_ranked_anew_by_a_finer_field(workshop, rescore):
    workshop.run()
    wanted = workshop.search("red hat", limit=6)
    store_as(workshop, "packed_bit", rescore)
    run = workshop.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    row = workshop.stored()[0]
    assert row["embedding_rescore"].as_vector().dtype is DTYPES[rescore]
    found = workshop.search("red hat", limit=6)
    assert [hit.score for hit in found.hits] == pytest.approx(
        [hit.score for hit in wanted.hits], abs=1e-6 if rescore == "float32" else 5e-3
    )
    assert "embedding_rescore" in found.scored_by
    # without `rescore` the finer field goes
    store_as(workshop, "packed_bit")
    workshop.run()
    assert all("embedding_rescore" not in row for row in workshop.stored().values())


def test_a_new_format_needs_no_provider_even_where_the_old_one_lost_something(workshop):
    store_as(workshop, "packed_bit")
    workshop.run()
    store_as(workshop, "float32")
    run = workshop.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 0
    assert workshop.search("blue hat", limit=1).hits[0].score == pytest.approx(1.0, abs=1e-5)


def test_an_engine_that_the_deployment_lacks_stops_the_run_before_it_spends(workshop):
    run = workshop.run(config={"resources": {"search_index": {"config": {"engine": "mongodb"}}}})
    (failure,) = run.failures
    assert "Atlas Local image" in failure
    assert run.metadata == {}
    assert workshop.client[workshop.database]["embedding_spend"].count_documents({}) == 0


def test_a_filter_over_the_vectors_is_refused(workshop):
    workshop.configure({"search_index": {"filter_fields": ["kind", "embedding"]}})
    with pytest.raises(ConfigurationError, match="'embedding' among its `filter_fields`"):
        workshop.pipeline.definitions()


def test_a_format_that_cannot_be_indexed_stops_the_run_before_it_begins(workshop):
    wrong = {"vector_store": {"config": {"dtype": "packed_bit"}}}
    (failure,) = workshop.run(config={"resources": wrong}).failures
    assert "only be compared by `similarity: euclidean`" in failure
    assert workshop.stored() == {}
    # In the pipeline's own YAML it does not even load.
    workshop.configure({"vector_store": {"dtype": "packed_bit"}})
    with pytest.raises(ConfigurationError, match="only be compared by `similarity: euclidean`"):
        workshop.pipeline.definitions()
