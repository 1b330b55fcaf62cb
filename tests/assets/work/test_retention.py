"""Old embedding batches go when nothing needs them, and not before."""

import dataclasses
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np

from assets.work.retention import remove_old_batches
from pipelines.framework.catalog import open_pipeline
from resources.batch_store.evaluations import QueryWindow
from resources.registry.evaluations import Evaluation, QuerySetFacts
from tests.workshop import Workshop

WEEK = 7 * 24 * 3600


def batch_files(workshop: Workshop) -> list[Path]:
    return sorted(workshop.folder.glob("batch_store/batches/*/*.parquet"))


def age(workshop: Workshop) -> None:
    """Everything was written a week ago."""
    for file in batch_files(workshop):
        os.utime(file, (time.time() - WEEK, time.time() - WEEK))


def forget_plans(workshop: Workshop) -> None:
    """Plans go an hour after they were replaced."""
    current = (workshop.folder / "batch_store/plans/films/current.json").read_text()
    for file in workshop.folder.glob("batch_store/plans/films/*/plan.json"):
        if file.parent.name not in current:
            file.unlink()


def films(*numbers: int, version: str = "first") -> list[dict]:
    return [{"_id": n, "text": f"{version} text {n}"} for n in numbers]


def test_an_old_batch_goes_once_none_of_its_texts_is_stored(workshop):
    workshop.write(films(1, 2))
    workshop.configure({"batch_store": {"keep_days": 3}})
    workshop.run()
    (first,) = batch_files(workshop)
    age(workshop)
    # One of its two texts is still stored: a wiped collection would be filled from it.
    workshop.write([*films(1), *films(2, version="second")])
    assert workshop.run().stored_vectors["old embedding batches removed"] == 0
    forget_plans(workshop)
    workshop.write(films(1, 2, version="third"))
    run = workshop.run()
    assert run.success, run.failures
    assert run.stored_vectors["old embedding batches removed"] == 1
    assert first not in batch_files(workshop)
    assert len(batch_files(workshop)) == 2, "the young ones stay"


def test_a_batch_that_a_plan_names_stays_however_old(workshop):
    workshop.write(films(1))
    workshop.configure({"batch_store": {"keep_days": 3}})
    workshop.run("source_documents", "embedding_batches")
    age(workshop)
    assert workshop.run("stored_vectors").stored_vectors["old embedding batches removed"] == 0
    workshop.vectors.delete_many({})
    workshop.write(films(1, version="second"))
    # Not stored by anybody, but an earlier plan still names it.
    assert workshop.run().stored_vectors["old embedding batches removed"] == 0
    assert len(batch_files(workshop)) == 2


def test_without_the_setting_nothing_is_removed(workshop):
    workshop.write(films(1))
    workshop.run()
    age(workshop)
    workshop.write(films(1, version="second"))
    assert "old embedding batches removed" not in workshop.run().stored_vectors
    assert len(batch_files(workshop)) == 2


def test_a_batch_that_an_evaluation_holds_stays_until_it_expires(workshop):
    workshop.write(films(1))
    workshop.configure({"batch_store": {"keep_days": 3}})
    workshop.run()
    (first,) = batch_files(workshop)
    age(workshop)
    held = Evaluation(
        "one", "others", "candidate", datetime.now(UTC), "", "", {}, "vector",
        QuerySetFacts("", ""), {}, holds=[[first.parent.name, first.stem]],
        expires=datetime.now(UTC) + timedelta(days=1),
    )  # fmt: skip
    workshop.vectors.delete_many({})
    for file in workshop.folder.glob("batch_store/plans/films/*/plan.json"):
        file.unlink()
    with open_pipeline(workshop.pipeline) as o:

        def removed() -> int:
            return remove_old_batches(3, batches=o.batches, client=o.client, registry=o.registry)

        o.registry.evaluations.record(held)
        assert removed() == 0
        o.registry.evaluations.record(dataclasses.replace(held, expires=datetime.now(UTC)))
        assert removed() == 1


def test_vectors_of_queries_stay_while_their_space_is_evaluated(workshop):
    old, month_ago = datetime.now(UTC) - timedelta(days=3), datetime.now(UTC) - timedelta(days=30)
    workshop.write(films(1))
    window = QueryWindow(np.zeros((1, 64), np.float32))
    with open_pipeline(workshop.pipeline) as o:
        evaluations = o.registry.evaluations
        spaces = {
            name: dataclasses.replace(o.space, model=name)
            for name in ("newest", "held", "seen", "past", "young")
        }
        for space in spaces.values():
            o.batches.queries.write(space, "settings", ["a query"], window)
        for name, space in spaces.items():
            if name != "young":
                (file,) = workshop.folder.glob(f"batch_store/queries/{space.id}/*/*")
                os.utime(file, (time.time() - WEEK, time.time() - WEEK))

        def record(name: str, kind: Literal["search_quality", "candidate"], seen: datetime) -> None:
            later = datetime.now(UTC) + timedelta(days=1)
            evaluations.record(Evaluation(
                name, "films", kind, seen, "", spaces[name].id, {}, "vector", QuerySetFacts("", ""),
                {}, expires=later if name == "held" else None,
            ))  # fmt: skip
            evaluations._evaluations.update_one({"_id": name}, {"$set": {"seen": seen}})

        record("past", "search_quality", month_ago - timedelta(days=1))
        record("newest", "search_quality", month_ago)
        record("held", "candidate", month_ago)
        record("seen", "candidate", datetime.now(UTC))
        assert evaluations.spaces_in_use(old) == {spaces[n].id for n in ("newest", "held", "seen")}
        remove_old_batches(3, batches=o.batches, client=o.client, registry=o.registry)
        left = {
            name
            for name, space in spaces.items()
            if o.batches.queries.read(space, "settings", ["a query"])
        }
        assert left == {"newest", "held", "seen", "young"}
