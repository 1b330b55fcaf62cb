"""Whole runs with remote providers, on the genuine mongod; their servers are local."""

import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bson.binary import BinaryVectorDtype

from resources.core.chunks import hash_text
from resources.core.vectors import from_bson
from tests.providers.voyage import quantized
from tests.workshop import Run, Workshop

WIDTH = 256
VARIABLES = {"voyage": "VOYAGE_API_KEY", "openai": "OPENAI_API_KEY"}


@pytest.fixture
def workshop(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.fixture(params=list(VARIABLES))
def provider(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def api(provider: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    server = request.getfixturevalue(f"{provider}_api")
    monkeypatch.setenv(VARIABLES[provider], server.behaviour.key)
    return server


@pytest.fixture
def remote(workshop: Workshop, provider: str, api: Any) -> Workshop:
    use(workshop, provider, base_url=api.url)
    return workshop


def use(workshop: Workshop, provider: str, **settings: Any) -> None:
    settings = {"dimensions": WIDTH, "api_key": {"env": VARIABLES[provider]}} | settings
    workshop.configure({"embedder": {"provider": {provider: settings}}})


def documents(count: int) -> list[dict[str, Any]]:
    return [{"_id": n, "text": f"text number {n}", "kind": "text"} for n in range(count)]


def served_once(api: Any, texts: list[str]) -> None:
    served = api.texts_served
    served.pop("a", None)  # what tells a bad text from bad settings
    assert served == dict.fromkeys(texts, 1)


def test_a_poisonous_text_goes_to_quarantine_and_the_rest_is_stored(remote: Workshop, api: Any):
    api.behaviour.poison = ["virus"]
    rows = documents(1000)
    rows[437]["text"] = "a virus"
    remote.write(rows)
    run = remote.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 999
    assert run.embedding_batches["refused by the provider"] == 1
    assert run.embedding_batches["requests"] == len(api.requests)
    stored = remote.stored()
    assert stored.keys() == set(range(1000)) - {437}
    (reason,) = remote.quarantine().values()
    assert reason == "The input was rejected (HTTP 400)"
    served_once(api, [row["text"] for row in rows if row["_id"] != 437])
    for document in stored.values():
        wanted = api.vector(document["text"], width=WIDTH)
        assert np.array_equal(from_bson(document["embedding"]), wanted)


def test_a_refusal_that_may_not_last_is_tried_again_by_a_later_run_and_heals(
    remote: Workshop, api: Any
):
    api.behaviour.row_faults = {"seven": "null"}
    rows = documents(10)
    rows[7]["text"] = "text number seven"
    remote.write(rows)
    run = remote.run()
    assert run.success, run.failures
    assert remote.stored().keys() == set(range(10)) - {7}
    assert remote.quarantine() == {"7": "it returned no vector of numbers"}
    asked = len(api.requests)
    assert remote.run().success
    assert len(api.requests) == asked, "its pause is not over"
    api.behaviour.row_faults = {}
    pause_is_over(remote)
    run = remote.run()
    assert run.success, run.failures
    assert remote.quarantine() == {}
    assert remote.stored().keys() == set(range(10))


def test_what_waits_for_its_new_vector_keeps_the_old_one_only_in_the_same_format(
    remote: Workshop, api: Any
):
    rows = documents(3)
    remote.write(rows)
    assert remote.run().success
    rows[1]["text"] = "text number seven"
    api.behaviour.row_faults = {"seven": "null"}
    remote.write(rows)
    assert remote.run().success
    assert remote.stored()[1]["text"] == "text number 1"
    remote.configure({"vector_store": {"dtype": "int8"}})
    run = remote.run()
    assert run.success, run.failures
    stored = remote.stored()
    assert stored.keys() == {0, 2}
    assert {row["embedding_lineage"]["stored_as"] for row in stored.values()} == {"int8"}
    assert remote.quarantine().keys() == {"1"}


def pause_is_over(workshop: Workshop) -> None:
    entries = workshop.client[workshop.database]["embedding_quarantine"]
    entries.update_many(
        {"again_at": {"$exists": True}}, {"$set": {"again_at": datetime(2000, 1, 1)}}
    )


def test_a_run_that_the_circuit_ends_keeps_its_batches(remote: Workshop, api: Any, provider: str):
    rows = documents(60)
    remote.write(rows)
    use(remote, provider, base_url=api.url, concurrency=2, max_failures=4, max_texts=2)
    remote.configure({"embedder": {"max_batch_chunks": 5}})
    # batches of three requests: the breakdown falls into the middle of one
    api.behaviour.fault_when = lambda request: 503 if request.number >= 10 else None
    run = remote.run()
    assert not run.success
    assert "4 requests in a row failed" in run.failures[0]
    assert "the next one goes on from here" in run.failures[0]
    paid = len(api.texts_served)
    assert 10 <= paid < 60
    api.behaviour.fault_when = None
    run = remote.run()
    assert run.success, run.failures
    assert run.embedding_batches["embedded"] == 60 - paid
    assert len(remote.stored()) == 60
    served_once(api, [row["text"] for row in rows])


def test_a_wrong_key_is_one_sentence(remote: Workshop, provider: str, monkeypatch):
    remote.write(documents(3))
    monkeypatch.setenv(VARIABLES[provider], "sk-wrong")
    run = remote.run()
    assert not run.success
    assert f"set {VARIABLES[provider]} to a valid one" in run.failures[0]
    assert "sk-wrong" not in run.failures[0]


# The tutorial: three providers, new data and existing data.

NEW = [
    "Titanic: The story of the 1912 sinking of the largest luxury liner ever built",
    "The Lion King: Lion cub and future king Simba searches for his identity",
    "Avatar: A marine is dispatched to the moon Pandora on a unique mission",
]
SUMMARIES = [f"A cosy flat with {n} rooms near the beach" for n in range(6)]


def new_data(workshop: Workshop) -> dict[Any, str]:
    workshop.settings["source"] = {"origin": {"texts": {"documents": NEW}}}
    workshop.configure({"search_index": {"filter_fields": []}})
    return dict(enumerate(NEW))


def existing_data(workshop: Workshop) -> dict[Any, str]:
    listings = workshop.client[workshop.database]["vectors"]
    listings.insert_many([{"_id": str(n), "summary": text} for n, text in enumerate(SUMMARIES)])
    listings.insert_many([{"_id": "none"}, {"_id": "empty", "summary": ""}])
    workshop.settings["source"] = {
        "origin": {
            "collection": {
                "database": workshop.database,
                "collection": "vectors",
                "filter": {"summary": {"$exists": True, "$nin": [None, ""]}},
            }
        },
        "text": "summary",
    }
    workshop.settings["vector_store"] = {"in_place": True}
    workshop.configure({"search_index": {"filter_fields": []}})
    return {str(n): text for n, text in enumerate(SUMMARIES)}


DATA = pytest.mark.parametrize("data", [new_data, existing_data])


def tutorial(workshop: Workshop, data: Any, width: int) -> Run:
    """Run, look at what is stored, search."""
    texts = data(workshop)
    run = workshop.run()
    assert run.success, run.failures
    assert all(run.checks.values())
    stored = {key: row for key, row in workshop.stored().items() if "embedding" in row}
    assert stored.keys() == texts.keys()
    for key, document in stored.items():
        assert from_bson(document["embedding"]).shape == (width,)
        lineage = document["embedding_lineage"]
        assert lineage["run"] == run.run_id
        assert lineage["space"] == run.source_documents["space"]
        assert lineage["text_hash"] == hash_text(texts[key])
    for key, text in list(texts.items())[:2]:
        best = workshop.search(text, limit=2).hits[0]
        assert (best.id, best.text) == (key, text)
    assert workshop.run().embedding_batches["embedded"] == 0
    return run


@DATA
def test_the_tutorial_with_a_remote_provider(remote: Workshop, api: Any, provider: str, data: Any):
    run = tutorial(remote, data, WIDTH)
    first, *others = api.requests
    assert run.embedding_batches["requests"] == 1
    assert run.embedding_batches["tokens"] == first.tokens
    if provider == "voyage":
        assert first.options["input_type"] == "document"
        assert {request.options["input_type"] for request in others} == {"query"}


@DATA
def test_the_tutorial_with_a_local_model(workshop: Workshop, data: Any):
    tutorial(workshop, data, 64)


@DATA
def test_the_tutorial_with_the_real_service(workshop: Workshop, provider: str, data: Any):
    variable = VARIABLES[provider]
    if not os.environ.get(variable):
        pytest.skip(f"{variable} is not set: nothing was asked of the real {provider} service")
    use(workshop, provider)
    tutorial(workshop, data, WIDTH)


@pytest.mark.parametrize(
    ("output", "dtype"),
    [
        ("int8", BinaryVectorDtype.INT8),
        ("uint8", BinaryVectorDtype.INT8),
        ("binary", BinaryVectorDtype.PACKED_BIT),
        ("ubinary", BinaryVectorDtype.PACKED_BIT),
    ],
)
def test_what_voyage_quantizes_is_stored_and_searched_as_it_is(
    workshop, voyage_api, monkeypatch, output, dtype
):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    use(workshop, "voyage", base_url=voyage_api.url, output_dtype=output)
    if dtype is BinaryVectorDtype.PACKED_BIT:
        workshop.configure({"search_index": {"similarity": "euclidean"}})
    workshop.write(documents(30))
    run = workshop.run()
    assert run.success, run.failures
    assert all(run.checks.values())
    stored = workshop.stored()[7]["embedding"]
    assert stored.as_vector().dtype is dtype
    exact = voyage_api.vector("text number 7", width=WIDTH)
    element = "int8" if dtype is BinaryVectorDtype.INT8 else "ubinary"
    wanted = quantized(exact, element)
    assert np.array_equal(from_bson(stored), wanted)
    hits = workshop.search("text number 7", limit=3).hits
    assert hits[0].id == 7
    if dtype is BinaryVectorDtype.PACKED_BIT:
        assert hits[0].score == pytest.approx(1.0)
    else:
        squared = float(wanted.astype(int) @ wanted.astype(int))
        assert hits[0].score == pytest.approx(0.5 + squared / (WIDTH * 2**15))
    # The two ways of writing one element type are one space: nothing is embedded anew.
    twin = {"int8": "uint8", "uint8": "int8", "binary": "ubinary", "ubinary": "binary"}[output]
    use(workshop, "voyage", base_url=voyage_api.url, output_dtype=twin)
    assert workshop.run().embedding_batches["embedded"] == 0


def test_bits_under_another_similarity_are_refused_before_anything_is_spent(
    workshop, voyage_api, monkeypatch
):
    monkeypatch.setenv("VOYAGE_API_KEY", voyage_api.behaviour.key)
    use(workshop, "voyage", base_url=voyage_api.url, output_dtype="ubinary")
    workshop.write(documents(3))
    (failure,) = workshop.run().failures
    assert "only be compared by `similarity: euclidean`" in failure
    assert not voyage_api.texts_served


def test_voyage_is_asked_again_only_for_texts_that_it_may_have_cut(
    workshop: Workshop, voyage_api: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLES["voyage"], voyage_api.behaviour.key)
    texts = {1: "short", 2: "b" * 31_000, 3: "c" * 40_000, 4: "d" * 128_004}  # it reads 32,000
    workshop.write([{"_id": name, "text": text} for name, text in texts.items()])
    use(workshop, "voyage", base_url=voyage_api.url, truncate=True)
    run = workshop.run()
    assert run.success, run.failures
    before = workshop.stored()
    lineage = {name: row["embedding_lineage"] for name, row in before.items()}
    assert {name for name, made in lineage.items() if made.get("cut")} == {3, 4}
    use(workshop, "voyage", base_url=voyage_api.url)
    run = workshop.run()
    assert run.success, run.failures
    after = workshop.stored()
    assert after.keys() == {1, 2, 3}
    assert {name: after[name] for name in (1, 2)} == {name: before[name] for name in (1, 2)}
    assert "cut" not in after[3]["embedding_lineage"], "it was short enough"
    assert "too many tokens" in workshop.quarantine()["4"]
    served = voyage_api.texts_served
    assert [served[text] for text in texts.values()] == [1, 1, 2, 1]
    use(workshop, "voyage", base_url=voyage_api.url, truncate=True)
    run = workshop.run()
    assert run.success, run.failures
    assert workshop.stored().keys() == set(texts)
    assert voyage_api.texts_served == served
