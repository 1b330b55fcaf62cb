"""Deployments from before spaces were written down, and settings that move a pipeline's vectors."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.doctor.examining import examine
from resources.core.errors import EmbeddingsError
from tests.models import build_static_model
from tests.workshop import Run, Workshop

DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 3}", "kind": "k"} for n in range(8)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build_static_model(tmp_path_factory.mktemp("models") / "other", seed=7))


@pytest.fixture
def films(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write(DOCUMENTS)
    done(made.run())
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.fixture
def earlier(films: Workshop) -> Workshop:
    """As an earlier version left it: no spaces are written down."""
    for name in ("pipeline_spaces", "pipeline_space_history"):
        films.client[films.database][name].drop()
    return films


def done(run: Run) -> Run:
    assert run.success, run.failures
    return run


def with_model(model: str, **model_change: Any) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    return {
        "resources": {"embedder": {"config": embedder}, "model_change": {"config": model_change}}
    }


def states(workshop: Workshop) -> dict[str, str]:
    with open_pipeline(workshop.pipeline) as o:
        return {e.space_id: o.record.state(e.space_id) for e in o.record.entries()}


def test_it_is_searched_before_any_run_and_another_model_touches_nothing(
    earlier: Workshop, other: str
):
    first = earlier.search("text 3").space.id
    assert states(earlier) == {first: "serving"}
    before = earlier.stored()
    beside = done(earlier.run(config=with_model(other)))
    assert beside.embedding_batches["embedded"] == 0
    assert all(beside.checks.values())
    after = earlier.stored()
    for name, row in before.items():
        assert {field: after[name][field] for field in row} == row
    assert sorted(states(earlier).values()) == ["ready", "serving"]
    assert earlier.search("text 3").space.id == first
    # How to ask the one that serves is written down by now.
    earlier.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    assert earlier.search("text 3").space.id == first


def test_where_nobody_says_how_the_old_one_is_embedded_it_is_left_as_it_is(
    earlier: Workshop, other: str
):
    first = earlier.search("text 3").space.id
    before = earlier.stored()
    earlier.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    with pytest.raises(EmbeddingsError, match=first):
        earlier.search("text 3")
    beside = done(earlier.run())
    assert "is not written down" in beside.stored_vectors["left as it is"]
    # Nothing can be compared with what cannot be asked.
    assert [name for name, passed in beside.checks.items() if not passed] == ["may_serve"]
    after = earlier.stored()
    for name, row in before.items():
        assert {field: after[name][field] for field in row} == row
    assert sorted(states(earlier).values()) == ["ready", "serving"]


def test_a_run_with_the_same_settings_writes_down_how_and_then_both_are_kept(
    earlier: Workshop, other: str
):
    first = earlier.search("text 3").space.id
    again = done(earlier.run())
    assert again.embedding_batches["embedded"] == 0
    assert states(earlier) == {first: "serving"}
    earlier.write([{**DOCUMENTS[0], "text": "edited"}, *DOCUMENTS[1:]])
    done(earlier.run(config=with_model(other)))
    (row,) = (row for row in earlier.stored().values() if row["text"] == "edited")
    hashes = [row[name]["text_hash"] for name in row if name.endswith("_lineage")]
    assert len(hashes) == 2
    assert len(set(hashes)) == 1
    with open_pipeline(earlier.pipeline) as o:
        assert [each.event for each in o.registry.of_pipelines.history("films")] == [
            "first",
            "built",
        ]


def test_replacing_is_gated_as_it_is_where_they_are_written_down(earlier: Workshop, other: str):
    refused = earlier.run(config=with_model(other, mode="replace"))
    assert not refused.success
    assert "8 of 8 vectors" in refused.failures[0]


@pytest.mark.parametrize(
    "moved",
    [
        {"vector_store": {"path": "another"}},
        {"vector_store": {"collection": "elsewhere"}},
        {"search_index": {"name": "another"}},
    ],
    ids=["path", "collection", "index"],
)
def test_vectors_and_indexes_that_are_moved_are_made_from_what_is_there(
    films: Workshop, other: str, moved: dict[str, Any]
):
    first = films.search("text 3").space.id
    films.configure(moved)
    made = done(films.run())
    assert made.embedding_batches["embedded"] == 0
    assert made.candidate_space["candidate"].startswith("none")
    assert films.search("text 3").space.id == first
    assert states(films) == {first: "serving"}
    beside = done(films.run(config=with_model(other)))
    assert beside.candidate_space["embedded"] == 8
    assert films.search("text 3").space.id == first


def test_what_another_pipeline_has_noted_as_its_own_is_not_taken_over(films: Workshop, other: str):
    """The store and the index have the names that this one's settings say as well."""
    films.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    beside = EmbeddingPipeline(name="stranger", configs=films.pipeline.configs)
    with open_pipeline(beside) as o:
        assert not list(o.record.entries())
        assert o.candidate is None
    found = {each.topic: each for each in examine(beside)}
    assert found["spaces"].text == "none serves yet: the first run builds it"


def test_where_it_is_not_known_how_a_space_is_embedded_doctor_says_so(
    earlier: Workshop, other: str
):
    earlier.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    found = {each.topic: each for each in examine(earlier.pipeline)}
    assert found["serving model"].state == "problem"
    assert "was not noted when it was made" in found["serving model"].text
