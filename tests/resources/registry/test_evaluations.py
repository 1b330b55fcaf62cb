"""What was measured before: kept, found again, and compared with the right one."""

import dataclasses
import time
from datetime import UTC, datetime, timedelta

import pytest

from resources.registry.evaluations import Evaluation, Evaluations, QuerySetFacts
from resources.registry.registry import Registry

START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def evaluations(database) -> Evaluations:
    registry = Registry(database.client, database.name)
    registry.evaluations.prepare()
    return registry.evaluations


def evaluation(number: int, **changes) -> Evaluation:
    made = Evaluation(
        id=f"{number:04}",
        pipeline="films",
        kind="search_quality",
        at=START + timedelta(days=number),
        run=f"run-{number}",
        space="space",
        model={"model": "m", "dimensions": 64},
        mode="vector",
        queries=QuerySetFacts("jsonl a", "same", 3, 1),
        measures={"ndcg@10": {"mean": 0.5, "low": 0.4, "high": 0.6}},
        passed=True,
    )
    return dataclasses.replace(made, **changes)


def test_what_is_recorded_comes_back_whole(evaluations):
    whole = evaluation(
        1,
        holds=[["space", "batch"]],
        expires=START + timedelta(days=90),
        details={"candidates": [{"embedder": "other", "cost": 1.5}]},
        latency={"p50": 0.1},
        bytes={"index": 10},
        state={"version": "v1"},
    )
    evaluations.record(whole)
    assert evaluations.get("0001") == whole
    assert evaluations.get("0002") is None
    assert evaluations.history("others") == []


def test_what_passed_last_of_the_same_queries_is_the_baseline(evaluations):
    other = QuerySetFacts("jsonl b", "other", 3)
    for made in (
        evaluation(1),
        evaluation(2),
        evaluation(3, passed=False),
        evaluation(4, queries=other),
        evaluation(5, kind="candidate", passed=None),
        evaluation(6, pipeline="books"),
        evaluation(7, passed=None),
    ):
        evaluations.record(made)
    found = evaluations.baseline("films", "same")
    assert found is not None
    assert found.id == "0002"
    before = evaluations.baseline("films", "same", before="0002")
    assert before is not None
    assert before.id == "0001", "none is compared with itself"
    assert evaluations.baseline("films", "third") is None
    latest = evaluations.latest("films")
    assert latest is not None
    assert latest.id == "0007"
    assert [each.id for each in evaluations.history("films", 2)] == ["0007", "0004"]
    assert len(evaluations.history("films", kind=None)) == 6


def test_an_accepted_one_is_the_baseline_until_another_is(evaluations):
    for number, passed in ((1, True), (2, False), (3, True)):
        evaluations.record(evaluation(number, passed=passed))
    accepted = evaluations.accept("films", "run-2")
    assert accepted is not None
    assert accepted.id == "0002"
    assert accepted.accepted is not None
    evaluations.record(evaluation(4))
    found = evaluations.baseline("films", "same")
    assert found is not None
    assert found.id == "0002"
    evaluations.record(evaluation(2, passed=False))
    found = evaluations.get("0002")
    assert found is not None
    assert found.accepted, "that somebody accepted it is not forgotten by noting it again"
    evaluations.accept("films", "0003")
    found = evaluations.baseline("films", "same")
    assert found is not None
    assert found.id == "0003"
    assert evaluations.accept("films", "nowhere") is None
    assert evaluations.accept("books", "run-2") is None


def test_batches_are_held_until_the_evaluation_expires(evaluations):
    ahead = datetime.now(UTC) + timedelta(days=1)
    evaluations.record(evaluation(1, holds=[["s", "a"], ["s", "b"]], expires=ahead))
    evaluations.record(
        evaluation(2, holds=[["s", "b"], ["t", "c"]], expires=ahead, pipeline="books")
    )
    evaluations.record(evaluation(3, holds=[["s", "gone"]], expires=START))
    evaluations.record(evaluation(4, holds=[["s", "without end"]]))
    evaluations.record(evaluation(5))
    assert evaluations.held_batches() == {("s", "a"), ("s", "b"), ("t", "c")}


def test_the_current_one_is_what_was_last_measured_or_found_to_hold(evaluations):
    assert evaluations.current("films") is None
    for number in (1, 2):
        evaluations.record(evaluation(number))
        time.sleep(0.002)  # MongoDB's moments are of a millisecond
    assert _id(evaluations.current("films")) == "0002"
    evaluations.note_seen("0001")
    assert _id(evaluations.current("films")) == "0001"
    assert _id(evaluations.latest("films")) == "0002"


def _id(found: Evaluation | None) -> str:
    return found.id if found else "none"
