"""Searches go by how the vectors were stored that the index has, whatever the settings want."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.operations.search import open_searcher
from tests.assets.test_settings_histories import dying
from tests.models import build_static_model
from tests.workshop import Workshop

FORMATS = [
    ("array", "none", "cosine"),
    ("int8", "none", "dotProduct"),
    ("int8", "float32", "cosine"),
    ("packed_bit", "float32", "euclidean"),
]


@pytest.fixture
def films(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    workshop.write([{"_id": n, "text": f"film {n} of the sea and {n % 3} ships"} for n in range(8)])
    yield workshop
    workshop.client.drop_database(workshop.database)
    workshop.client.close()


def answered(films: Workshop) -> list[tuple[Any, float]]:
    with open_searcher(films.pipeline) as searcher:
        found = searcher.search("ships at sea", limit=8)
    assert not found.notes
    return [(hit.id, round(hit.score, 6)) for hit in found.hits]


def declare(films: Workshop, dtype: str, rescore: str, similarity: str) -> None:
    films.configure(
        {
            "vector_store": {"dtype": dtype, "rescore": rescore},
            "search_index": {"similarity": similarity},
        }
    )


def test_until_a_run_has_stored_them_otherwise(films: Workshop):
    declare(films, *FORMATS[0])
    assert films.run().success
    for after in [*FORMATS[1:], *reversed(FORMATS[:-1])]:
        first = answered(films)
        declare(films, *after)
        assert answered(films) == first
        run = films.run()
        assert run.success, run.failures
        assert len(answered(films)) == 8


def test_where_the_space_that_serves_is_left_as_it_is(films: Workshop):
    assert films.run().success
    first = answered(films)
    other = str(build_static_model(films.folder / "other", seed=7))
    films.configure(
        {
            "embedder": {"provider": {"sentence_transformers": {"model": other}}},
            "vector_store": {"dtype": "int8"},
            "model_change": {"keep_serving": False},
        }
    )
    run = films.run()
    assert run.success, run.failures
    assert answered(films) == first


def test_while_the_finer_vectors_go_none_is_missing(films: Workshop):
    films.configure({"embedder": {"max_batch_chunks": 3}})
    declare(films, "packed_bit", "float32", "euclidean")
    assert films.run().success
    declare(films, "packed_bit", "none", "euclidean")
    with dying(1):
        assert not films.run().success
    found = films.search("ships at sea", limit=8)
    assert len(found.hits) == 8
    assert "first order stands" in found.notes[0]
