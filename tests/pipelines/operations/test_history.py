"""`history`: what changed in which run, from real runs that Dagster has recorded."""

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from assets import run_tags
from assets.about import ASSETS
from pipelines.framework import execution
from pipelines.framework.catalog import find_pipeline
from pipelines.framework.execution import RunFailed
from pipelines.operations import history as module
from pipelines.operations import runs
from pipelines.operations.history import IdleRuns, PastRun, history
from tests.pipelines.operations.conftest import Town


@pytest.fixture(scope="module")
def books(town: Town) -> Iterator[str]:
    """A pipeline that ran: all new, nothing, nothing, one changed and one gone, failed."""
    with pytest.MonkeyPatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        # Dagster's own tables, in memory: on a disk each of the runs takes twice as long.
        for module in (execution, runs):
            patch.setattr(module, "project_instance", lambda: nullcontext(instance))
        yield from _ran(town, instance)


def _ran(town: Town, instance: dg.DagsterInstance) -> Iterator[str]:
    name = town.add("books")
    shelf = [{"_id": n, "text": f"book {n}"} for n in range(6)]
    town.write(name, shelf)
    execution.run(name)
    execution.run(name)
    _assets_alone(name, instance)
    changed = {"_id": 0, "text": "another book"}
    town.write(name, [changed, *shelf[1:5], {"_id": "void", "text": " "}])
    execution.run(name)
    (town.folder / "books.jsonl").unlink()
    with pytest.raises(RunFailed):
        execution.run(name)
    yield name
    (town.folder / "pipelines" / "books.py").unlink()


def _assets_alone(name: str, instance: dg.DagsterInstance) -> None:
    """As the button of an asset's page does, without the job; with tags of everybody's."""
    result = (
        find_pipeline(name)
        .definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(
            asset_selection=[dg.AssetKey([name, asset]) for asset in ASSETS],
            instance=instance,
            tags={"dagster/schedule_name": "nightly"},
        )
    )
    assert result.success
    tags = {
        run_tags.COST: "0.25",
        run_tags.MODEL: "voyage-4",
        run_tags.EMBEDDED: "7",
        run_tags.CHANGED: "nonsense of somebody's",
    }
    instance.add_run_tags(result.run_id, tags)


def told(name: str, **options: object) -> list[PastRun]:
    found = history(name, **options)  # pyright: ignore[reportArgumentType]
    assert all(isinstance(entry, PastRun) for entry in found)
    return [entry for entry in found if isinstance(entry, PastRun)]


def test_the_newest_first_and_idle_runs_in_one_line(books: str):
    failed, changed, idle, first = history(books)
    assert isinstance(failed, PastRun)
    assert failed.state == "failed"
    assert "there is no file" in failed.why
    assert isinstance(changed, PastRun)
    assert (changed.new, changed.changed_texts, changed.deleted, changed.embedded) == (0, 1, 1, 1)
    assert changed.quarantined == 1
    assert idle == IdleRuns(2, idle.first, idle.last)
    assert isinstance(idle, IdleRuns)
    assert isinstance(first, PastRun)
    assert first.started < idle.first < idle.last < changed.started < failed.started
    assert (first.new, first.embedded, first.quarantined, first.why) == (6, 6, 0, "")
    assert (first.by, first.state, first.model) == ("command line", "succeeded", "static")
    assert first.cost_usd == 0
    assert first.seconds
    assert first.seconds > 0
    assert first.space


def test_every_limit_and_since(books: str):
    every = told(books, every=True)
    assert [entry.idle for entry in every] == [False, False, True, True, False]
    assert told(books, every=True, limit=2) == every[:2]
    assert len(history(books, limit=3)) == 3, "runs that are folded are one"
    # One that was asked for right then began a moment later.
    since = every[1].started - timedelta(milliseconds=1)
    assert {entry.id for entry in told(books, since=since)} <= {each.id for each in every[:2]}
    assert history(books, since=datetime.now(UTC) + timedelta(days=1)) == []


def test_pages_tell_the_same(books: str, monkeypatch: pytest.MonkeyPatch):
    whole = history(books)
    monkeypatch.setattr(runs, "PAGE", 1)
    monkeypatch.setattr(module, "PAGE", 2)
    assert history(books) == whole
    monkeypatch.setattr(runs, "MOST", 2)
    assert history(books)[:2] == whole[:2]
    assert len(told(books, every=True)) == 3, "two of its job, and one of its assets alone"


def test_a_run_of_assets_without_the_job_and_tags_before_metadata(books: str):
    alone = told(books, every=True)[2]
    assert (alone.cost_usd, alone.model, alone.embedded) == (0.25, "voyage-4", 7)
    assert alone.by == "schedule nightly"
    assert (alone.new, alone.changed) == (0, 0), "as the metadata has it"


def test_moments_are_utc_wherever_the_clock_stands(books: str, monkeypatch: pytest.MonkeyPatch):
    here = history(books)
    monkeypatch.setitem(os.environ, "TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert history(books) == here
    finally:
        monkeypatch.undo()
        time.tzset()


def test_of_no_run_and_of_no_pipeline(town: Town):
    assert history(town.add("never")) == []
    (town.folder / "pipelines" / "never.py").unlink()
