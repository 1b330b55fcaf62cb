"""Which space of a pipeline serves: promoted, rolled back, retired, and what is refused."""

import json
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from tenacity import Retrying, stop_after_delay, wait_fixed

from pipelines import promote, retire, rollback, spaces
from pipelines.framework.catalog import open_pipeline
from resources.core.errors import SpaceError
from tests.models import build_static_model
from tests.workshop import Workshop, shared_instance

DOCUMENTS = [{"_id": n, "text": f"text {n} of {n % 7}", "kind": f"k{n % 3}"} for n in range(20)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another model of the same width."""
    return str(build_static_model(tmp_path_factory.mktemp("other") / "static-newer", seed=7))


def with_model(model: str, **model_change: Any) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": model}}}
    return {
        "resources": {"embedder": {"config": embedder}, "model_change": {"config": model_change}}
    }


@pytest.fixture
def changing(workshop: Workshop, other: str) -> tuple[Workshop, str, str]:
    """A pipeline that serves one space and has another one ready: with both ids."""
    workshop.write(DOCUMENTS)
    for config in (None, with_model(other)):
        run = workshop.run(config=config)
        assert run.success, run.failures
    first, second = (each.entry.space_id for each in spaces(workshop.pipeline).spaces)
    return workshop, first, second


def states(workshop: Workshop) -> dict[str, str]:
    return {each.entry.space_id: each.state for each in spaces(workshop.pipeline).spaces}


def answered_from(workshop: Workshop, space: str) -> None:
    """A searcher that is held looks every now and then which space serves."""
    for attempt in Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.05), reraise=True):
        with attempt:
            assert workshop.search("text 3").space.id == space


def test_there_and_back_and_gone(changing: tuple[Workshop, str, str]):
    workshop, first, second = changing
    before = workshop.stored()
    done = promote(workshop.pipeline, second, by="ann@host")
    assert (done.before, done.now) == (first, second)
    assert states(workshop) == {second: "serving", first: "previous"}
    answered_from(workshop, second)
    with pytest.raises(SpaceError, match=r"is the way back until .*retire_after_days: 7"):
        retire(workshop.pipeline, first)
    back = rollback(workshop.pipeline, why="odd answers", by="bob@host")
    assert back.behind
    assert back.behind.fresh
    assert states(workshop) == {first: "serving", second: "previous"}
    with pytest.raises(SpaceError, match=r"rolled back to .* already, by bob@host"):
        rollback(workshop.pipeline)
    gone = retire(workshop.pipeline, second, force="it was worse", by="ann@host")
    assert gone.vectors == 20
    assert gone.batches == 1
    assert states(workshop) == {first: "serving", second: "retired"}
    names = {f"embedding__{second}", f"embedding__{second}_lineage"}
    assert workshop.stored() == {
        key: {name: value for name, value in document.items() if name not in names}
        for key, document in before.items()
    }
    helpers = workshop.vectors.index_information()
    assert sorted(helpers) == ["_id_", "embedding_lineage_space_text"]
    with open_pipeline(workshop.pipeline) as o:
        assert o.batches.batches(second) == []
        assert len(o.batches.batches(first)) == 1
        (left,) = (e for e in o.record.entries() if e.space_id == second)
        assert (left.vectors, left.retired) == (20, True)
        assert left.cleared
    told = [
        (each.event, each.space_id, each.by, each.why.split(":")[0])
        for each in spaces(workshop.pipeline, history=True).history
    ]
    assert told[2:] == [
        ("promoted", second, "ann@host", "the gate lets it through"),
        ("rolled back", first, "bob@host", "odd answers"),
        ("retired", second, "ann@host", "forced"),
    ]
    assert [each[:2] for each in told[:2]] == [("first", first), ("built", second)]
    answered_from(workshop, first)


def test_what_was_retired_can_be_built_again_at_its_place(
    changing: tuple[Workshop, str, str], other: str
):
    workshop, first, second = changing
    before = workshop.stored()
    retire(workshop.pipeline, second)
    with pytest.raises(SpaceError, match="is gone already"):
        retire(workshop.pipeline, second)
    with pytest.raises(SpaceError, match="is retired since"):
        promote(workshop.pipeline, second)
    again = workshop.run(config=with_model(other))
    assert again.success, again.failures
    assert again.candidate_space["embedded"] == 20
    assert states(workshop) == {first: "serving", second: "ready"}
    paths = [name for name in before[3] if not name.endswith("_lineage")]
    after = workshop.stored()
    assert all(after[3][name] == before[3][name] for name in paths)


def test_refused_with_the_reason_and_a_way_out(changing: tuple[Workshop, str, str]):
    workshop, first, second = changing
    with pytest.raises(SpaceError, match=rf"no space 'nothing': it has .*{first} \(serving\)"):
        promote(workshop.pipeline, "nothing")
    with pytest.raises(SpaceError, match="2 spaces of films begin with"):
        promote(workshop.pipeline, "static-")
    with pytest.raises(SpaceError, match="serves films already, since"):
        promote(workshop.pipeline, first)
    with pytest.raises(SpaceError, match="promote another space first"):
        retire(workshop.pipeline, first)
    with pytest.raises(SpaceError, match="no space to go back to"):
        rollback(workshop.pipeline)
    with open_pipeline(workshop.pipeline, run="somebody") as o:
        entry = o.record.entry(second)
        assert entry
        lane = o.lying(entry)
        with lane.work(), pytest.raises(SpaceError, match=r"run somebody .* is working on"):
            promote(workshop.pipeline, second, force="now")
        with lane.work(), pytest.raises(SpaceError, match=r"run somebody .* is working on"):
            retire(workshop.pipeline, second)
        o.registry.of_pipelines.note(o.record, second, missing=3)
        with pytest.raises(SpaceError, match="3 of 20 chunks have no vector yet"):
            promote(workshop.pipeline, second)
        o.registry.of_pipelines.note(o.record, second, missing=0)
        o.registry.indexes.forget(lane.index_key)
        with pytest.raises(SpaceError, match="has no index"):
            promote(workshop.pipeline, second, force="now")
    assert states(workshop) == {first: "serving", second: "ready"}


def test_force_is_written_down_with_what_spoke_against_it(changing: tuple[Workshop, str, str]):
    workshop, _, second = changing
    with open_pipeline(workshop.pipeline) as o:
        o.registry.of_pipelines.note(o.record, second, missing=3)
    done = promote(workshop.pipeline, second, force="the old model is withdrawn tonight")
    assert done.change.why.startswith("forced: the old model is withdrawn tonight (against: ")
    assert "3 of 20 chunks" in done.change.why


def test_of_two_at_once_one_wins_and_the_other_is_told(
    changing: tuple[Workshop, str, str], tmp_path: Path
):
    workshop, first, second = changing
    third = str(build_static_model(tmp_path / "third", seed=8))
    assert workshop.run(config=with_model(third)).success
    (name,) = set(states(workshop)) - {first, second}
    together, came = threading.Barrier(2), {}
    pipeline = workshop.pipeline

    def ask(space: str) -> None:
        from assets.work.changing import promoting

        with open_pipeline(pipeline) as o:
            assert o.record.serving == first
            together.wait(60)
            try:
                came[space] = promoting.promote(o, space, by=f"who wants {space}")
            except SpaceError as error:
                came[space] = error

    threads = [threading.Thread(target=ask, args=[space]) for space in (second, name)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (lost,) = (space for space, each in came.items() if isinstance(each, SpaceError))
    (won,) = came.keys() - {lost}
    assert states(workshop)[won] == "serving"
    assert f"{won} serves films by now (who wants {won} was faster at" in str(came[lost])
    flips = [e.event for e in spaces(pipeline, history=True).history if e.event == "promoted"]
    assert len(flips) == 1


def test_a_space_to_go_back_to_may_be_stale_and_that_is_said(
    changing: tuple[Workshop, str, str], other: str
):
    workshop, first, second = changing
    promote(workshop.pipeline, second)
    workshop.write(
        [{**DOCUMENTS[0], "text": "another"}, *DOCUMENTS[2:], {"_id": 99, "text": "new"}]
    )
    assert workshop.run(config=with_model(other)).success  # who goes on with the new one alone
    back = rollback(workshop.pipeline)
    assert back.now == first
    assert str(back.behind) == (
        "it is stale: of 20 chunks 1 have no vector in it, 1 have one of an older text, 1 are in "
        "it that are not in the source any more"
    )


def test_nobody_elses_document_is_touched(changing: tuple[Workshop, str, str]):
    workshop, _, second = changing
    theirs = {"_id": "theirs", f"embedding__{second}": [1.0], "text": "x"}
    workshop.vectors.insert_one(theirs)
    retire(workshop.pipeline, second)
    assert workshop.vectors.find_one({"_id": "theirs"}) == theirs


def test_the_gate_compares_what_both_answer_and_keeps_what_it_has_measured(
    workshop: Workshop, other: str
):
    workshop.write(DOCUMENTS)
    assert workshop.run().success
    beside = workshop.run(config=with_model(other))
    assert beside.checks["may_serve"]
    (_, second) = (each.entry.space_id for each in spaces(workshop.pipeline).spaces)
    done = promote(workshop.pipeline, second)
    assert done.verdict
    assert not done.verdict.measured
    assert done.verdict.known_item
    assert [row.criterion for row in done.verdict.rows] == [
        "coverage",
        "index",
        "nDCG@10",
        "overlap@10",
        "latency of a search",
        "bytes of vectors",
        "cost a month",
    ]


def test_what_is_worse_beyond_chance_is_stopped(workshop: Workshop, other: str):
    words = [f"{a} {b}" for a in ("red", "blue", "wide", "old") for b in ("cat", "sea", "tree")]
    workshop.write([{"_id": n, "text": f"text {n} of {n % 7}"} for n in range(60)])
    assert workshop.run().success
    # What the first one finds is right.
    judged = [
        {"query": text, "relevant": [hit.id for hit in workshop.search(text, limit=2).hits]}
        for text in words
    ]
    file = workshop.folder / "judged.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in judged), "utf-8")
    workshop.configure({"evaluation": {"queries": {"jsonl": {"path": str(file)}}}})
    beside = workshop.run(config=with_model(other, promote="auto"))
    assert beside.success, beside.failures
    assert not beside.checks["may_serve"]
    first, second = (each.entry.space_id for each in spaces(workshop.pipeline).spaces)
    with pytest.raises(SpaceError, match=r"may not serve: the gate stops it: nDCG@10 .*--force"):
        promote(workshop.pipeline, second)
    assert states(workshop) == {first: "serving", second: "ready"}
    forced = promote(workshop.pipeline, second, force="it is cheaper")
    assert forced.change.why.startswith(
        "forced: it is cheaper (against: the gate stops it: nDCG@10"
    )


def test_it_may_serve_by_itself_once_the_gate_lets_it_through(workshop: Workshop, other: str):
    workshop.write(DOCUMENTS)
    assert workshop.run().success
    beside = workshop.run(config=with_model(other, promote="auto"))
    assert beside.success, beside.failures
    serving, before = spaces(workshop.pipeline, history=True).spaces
    assert (serving.state, before.state) == ("serving", "previous")
    assert serving.entry.space_id == beside.candidate_space["candidate"]
    last = spaces(workshop.pipeline, history=True).history[-1]
    assert last.by == f"run {beside.run_id}, by `promote: auto`"
    assert last.why.startswith("the gate lets it through")


def test_each_is_a_job_too_and_the_history_names_the_run(changing: tuple[Workshop, str, str]):
    workshop, first, second = changing
    definitions = workshop.pipeline.definitions()

    def launched(job: str, op: str, **config: str) -> dg.ExecuteInProcessResult:
        return definitions.resolve_job_def(job).execute_in_process(
            run_config={"ops": {op: {"config": config}}},
            instance=shared_instance(),
            tags={"user": "ann"},
            raise_on_error=False,
        )

    refused = launched("films_promote", "films_promote_space", space="nothing")
    assert not refused.success
    assert states(workshop) == {first: "serving", second: "ready"}
    runs = [
        launched("films_promote", "films_promote_space", space=second),
        launched("films_rollback", "films_rollback_space", why="odd answers"),
        launched("films_retire", "films_retire_space", space=second, force="it was worse"),
    ]
    assert all(run.success for run in runs)
    assert states(workshop) == {first: "serving", second: "retired"}
    told = spaces(workshop.pipeline, history=True).history[-3:]
    assert [(each.event, each.by, each.run) for each in told] == [
        (event, f"ann, run {run.run_id}", run.run_id)
        for event, run in zip(("promoted", "rolled back", "retired"), runs, strict=True)
    ]
