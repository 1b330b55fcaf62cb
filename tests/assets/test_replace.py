"""Vectors replaced at their one path: searches go on over what is left, and never mix."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipelines import promote, retire, rollback
from pipelines import spaces as listing
from pipelines.framework.catalog import open_pipeline
from pipelines.operations.search import warm
from resources.core.errors import SpaceError
from resources.vector_store.writer import VectorWriter
from tests.models import build_static_model
from tests.search_node import search_node
from tests.workshop import Workshop

DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 7}", "kind": f"k{n % 3}"} for n in range(30)]
MODES = ("vector", "text", "hybrid")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Other models: of the same width, and of another one."""
    folder = tmp_path_factory.mktemp("others")
    return {
        width: str(build_static_model(folder / str(width), dimensions=width, seed=7))
        for width in (64, 32)
    }


@pytest.fixture(params=["local", "mongodb"])
def workshop(
    request: pytest.FixtureRequest, tmp_path: Path, mongod_uri: str, static_model: str
) -> Iterator[Workshop]:
    if request.param == "mongodb":
        with search_node(mongod_uri) as node:
            yield from _open(node.uri, "mongodb", tmp_path, static_model)
    else:
        yield from _open(mongod_uri, "local", tmp_path, static_model)


def _open(uri: str, engine: str, folder: Path, model: str) -> Iterator[Workshop]:
    made = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", model)
    index = {"engine": engine, "text": {}, "poll_seconds": 0.05}
    made.configure({"search_index": index, "embedder": {"max_batch_chunks": 5}})
    made.write(DOCUMENTS)
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def replacing(model: str, **more: Any) -> dict[str, Any]:
    return {
        "resources": {
            "embedder": {"config": {"provider": {"sentence_transformers": {"model": model}}}},
            "model_change": {"config": {"mode": "replace", **more}},
        }
    }


@contextmanager
def broken_off(monkeypatch: pytest.MonkeyPatch, parts: int) -> Iterator[None]:
    """The store takes so many writes, and no more."""
    left, write = [parts], VectorWriter.write

    def taken(self: VectorWriter, rows: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError("killed")
        return write(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(VectorWriter, "write", taken)
        yield


def spaces(workshop: Workshop) -> tuple[str | None, dict[str, str]]:
    """Which one serves, and the state of each."""
    with open_pipeline(workshop.pipeline) as o:
        record = o.record
        return record.serving, {e.space_id: record.state(e.space_id) for e in record.entries()}


def at_path(workshop: Workshop) -> dict[str, int]:
    """Vectors at the path, by space."""
    rows = workshop.vectors.aggregate(
        [{"$group": {"_id": "$embedding_lineage.space", "n": {"$sum": 1}}}]
    )
    return {row["_id"]: row["n"] for row in rows}


def searched(workshop: Workshop, space: str, note: str) -> list[int]:
    """Every mode answers, of one space; how many each finds."""
    found = []
    for mode in MODES:
        answer = workshop.search("text 3 of 3", limit=40, mode=mode)
        assert answer.space.id == space
        assert {hit.lineage["space"] for hit in answer.hits} == {space}
        assert [said for said in answer.notes if "left in the space" in said] == (
            [said for said in answer.notes if note in said] if note else []
        )
        assert not note or any(note in said for said in answer.notes)
        found.append(len(answer.hits))
    return found


@pytest.mark.parametrize("width", [64, 32])
def test_a_replacement_is_gated_goes_on_after_a_kill_and_serves_when_it_is_complete(
    workshop: Workshop, others: dict[int, str], width: int, monkeypatch: pytest.MonkeyPatch
):
    assert workshop.run().success
    first, _ = spaces(workshop)
    assert first is not None
    before = workshop.stored()
    refused = workshop.run(config=replacing(others[width]))
    assert not refused.success
    assert "30 of 30 vectors" in refused.failures[0]
    assert "allow_replace: true" in refused.failures[0]
    assert workshop.stored() == before
    assert spaces(workshop) == (first, {first: "serving"})
    allowed = replacing(others[width], allow_replace=True)
    with broken_off(monkeypatch, 3):
        assert not workshop.run(config=allowed).success
    left = at_path(workshop)
    second = next(name for name in left if name != first)
    assert 0 < left[second] < 30
    note = f"{left[first]} of 30 vectors are left in the space {first} while {second} replaces"
    counts = searched(workshop, first, note)
    local = workshop.settings["search_index"]["engine"] == "local"
    assert counts == [30 if local else left[first]] * 3
    done = workshop.run(config=allowed)
    assert done.success, done.failures
    assert at_path(workshop) == {second: 30}
    assert spaces(workshop) == (second, {first: "retired", second: "serving"})
    assert searched(workshop, second, "") == [30] * 3
    with pytest.raises(SpaceError, match="is gone already"):
        retire(workshop.pipeline, first)
    with open_pipeline(workshop.pipeline) as o:  # as an earlier version has left it
        o.registry.of_pipelines.note(o.record, first, cleared=None)
    assert retire(workshop.pipeline, first).index == "", "the other one is searched by it"
    warm.close()
    assert searched(workshop, second, "") == [30] * 3
    with open_pipeline(workshop.pipeline) as o:
        told = o.registry.of_pipelines.history("films")
        assert [(each.event, each.space_id, each.before) for each in told] == [
            ("first", first, None),
            ("promoted", second, first),
        ]


def test_in_the_middle_there_is_a_way_back(
    workshop: Workshop, others: dict[int, str], monkeypatch: pytest.MonkeyPatch
):
    assert workshop.run().success
    first, _ = spaces(workshop)
    assert first is not None
    with broken_off(monkeypatch, 3):
        assert not workshop.run(config=replacing(others[64], allow_replace=True)).success
    assert len(at_path(workshop)) == 2
    begun = next(name for name in at_path(workshop) if name != first)
    with pytest.raises(SpaceError, match=f"has begun to replace {first}, which serves"):
        retire(workshop.pipeline, begun)
    # Tonight's run has the settings of before: it asks nobody's leave, and pays for nothing.
    tonight = workshop.run()
    assert tonight.success, tonight.failures
    assert tonight.embedding_batches["embedded"] == 0
    assert at_path(workshop) == {first: 30}
    serving, states = spaces(workshop)
    assert serving == first
    assert sorted(states.values()) == ["retired", "serving"]
    assert searched(workshop, first, "") == [30] * 3


def test_what_replacing_had_begun_may_be_built_beside(
    workshop: Workshop, others: dict[int, str], monkeypatch: pytest.MonkeyPatch
):
    assert workshop.run().success
    first, _ = spaces(workshop)
    assert first is not None
    wanted = replacing(others[64], allow_replace=True)
    with broken_off(monkeypatch, 3):
        assert not workshop.run(config=wanted).success
    wanted["resources"]["model_change"]["config"] = {"mode": "beside"}
    beside = workshop.run(config=wanted)
    assert beside.success, beside.failures
    assert at_path(workshop) == {first: 30}
    serving, states = spaces(workshop)
    assert serving == first
    assert sorted(states.values()) == ["ready", "serving"]
    again = replacing(others[64], allow_replace=True)
    refused = workshop.run(config=again)
    assert not refused.success
    assert "lies beside the one that serves already" in refused.failures[0]
    # Settings that no run can follow keep nobody from looking, or from either way out.
    workshop.configure({key: each["config"] for key, each in again["resources"].items()})
    (ready,) = (name for name, state in states.items() if state == "ready")
    listed = {each.entry.space_id: each.wanted for each in listing(workshop.pipeline).spaces}
    assert listed == {first: False, ready: True}
    promote(workshop.pipeline, ready, force="now")
    rollback(workshop.pipeline)
    assert retire(workshop.pipeline, ready, force="now").vectors == 30
    assert searched(workshop, first, "") == [30] * 3
