"""Which runs Dagster may forget, and that it does: real runs in an instance on a disk."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy.exc import OperationalError

from assets import run_tags
from assets.about import ASSETS
from pipelines.framework import sqlite_history
from pipelines.framework.maintenance import build_maintenance, daily
from pipelines.framework.old_runs import Removed, maintenance_job, removable, remove_old_runs
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import ConfigurationError

NAME = "films"
LATER = datetime.now(UTC) + timedelta(days=40)


def job_of(name: str = NAME, fails: str = "") -> dg.JobDefinition:
    """The shape of a pipeline's job: the names of its assets and a check."""

    def build(asset: str, above: str | None) -> dg.AssetsDefinition:
        @dg.asset(key=[name, asset], deps=[[name, above]] if above else [], group_name=name)
        def made() -> dg.MaterializeResult:
            if fails == asset:
                raise dg.Failure("the server is down")
            return dg.MaterializeResult(metadata={"preview": "a text " * 400})

        return made

    @dg.asset_check(asset=dg.AssetKey([name, "search_index"]))
    def whole() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    assets = [build(*pair) for pair in zip(ASSETS, (None, *ASSETS), strict=False)]
    job = dg.define_asset_job(name, selection=dg.AssetSelection.groups(name))
    definitions = dg.Definitions(
        assets=assets, asset_checks=[whole], jobs=[job], executor=dg.in_process_executor
    )
    return definitions.resolve_job_def(name)


def record(
    instance: dg.DagsterInstance,
    changed: str | None = None,
    *,
    job: dg.JobDefinition | None = None,
    only: str = "",
    **tags: str,
) -> str:
    tagged = {} if changed is None else {run_tags.CHANGED: changed}
    result = (job or job_of()).execute_in_process(
        instance=instance,
        raise_on_error=False,
        tags=tagged | tags,
        asset_selection=[dg.AssetKey([NAME, only])] if only else None,
    )
    return result.run_id


@contextmanager
def opened(home: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home") / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", "utf-8")
    with opened(home):
        pass
    return home


@pytest.fixture
def quick() -> Iterator[dg.DagsterInstance]:
    """In memory: for what goes and what stays, which is the same everywhere."""
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def instance(empty_home: Path, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    shutil.copytree(empty_home, tmp_path / "dagster")
    with opened(tmp_path / "dagster") as found:
        yield found


def story(instance: dg.DagsterInstance) -> dict[str, Any]:
    """What the asset pages say: the latest of everything, and whether its run can be looked at."""
    told: dict[str, Any] = {}
    for asset in ASSETS:
        key = dg.AssetKey([NAME, asset])
        event = instance.get_latest_materialization_event(key)
        told[asset] = event and (event.run_id, instance.get_run_by_id(event.run_id) is not None)
        for fetch in (instance.fetch_materializations, instance.fetch_observations):
            records = fetch(key, limit=1).records
            told[f"{asset} {fetch.__name__}"] = [each.storage_id for each in records]
    check = dg.AssetCheckKey(dg.AssetKey([NAME, "search_index"]), "whole")
    found = instance.get_latest_asset_check_evaluation_record(check)
    told["check"] = found and (found.run_id, found.status)
    return told


def ids(instance: dg.DagsterInstance) -> set[str]:
    return {run.run_id for run in instance.get_runs()}


def test_only_old_runs_that_changed_nothing_go(quick: dg.DagsterInstance):
    kept = {
        "it changed something": record(quick, "5"),
        "nobody knows": record(quick),
        "it may have embedded": record(quick, "0", job=job_of(fails="embedding_batches")),
        "it stored": record(quick, job=job_of(fails="search_index")),
        "of a backfill": record(quick, "0", **{"dagster/backfill": "abcdef"}),
        "somebody else's": record(quick, "0", job=job_of("books")),
        "of another pipeline": record(quick, "0", **{run_tags.PIPELINE: "books"}),
    }
    gone = {
        "idle": record(quick, "0"),
        "no server": record(quick, job=job_of(fails="source_documents")),
        "idle and tagged": record(quick, "0", **{run_tags.PIPELINE: NAME}),
    }
    parent = record(quick, "0")
    kept["made from one that goes"] = parent
    kept["the retry"] = record(
        quick, "5", **{"dagster/parent_run_id": parent, "dagster/root_run_id": parent}
    )
    gone["a retry of an idle run"] = record(
        quick, "0", **{"dagster/parent_run_id": gone["idle"], "dagster/root_run_id": parent}
    )
    kept["in progress"] = quick.create_run_for_job(
        job_of(), status=dg.DagsterRunStatus.STARTED, tags={run_tags.CHANGED: "0"}
    ).run_id
    kept["the latest"] = record(quick, "0")
    before = story(quick)
    assert removable(quick, NAME, datetime.now(UTC) - timedelta(days=1)) == [], "young"
    removed = remove_old_runs(quick, NAME, 30, now=LATER)
    assert set(removed.runs) == set(gone.values())
    assert {reason: run for reason, run in kept.items() if run not in ids(quick)} == {}
    assert ids(quick) == set(kept.values())
    assert story(quick) == before


def test_the_latest_of_each_asset_and_check_stays(quick: dg.DagsterInstance):
    latest = {"whole": record(quick, "0")}
    for asset in ASSETS[1:]:
        record(quick, "0", only=asset)
        latest[asset] = record(quick, "0", only=asset)
    record(quick, "0", only=ASSETS[0])
    last = record(quick, job=job_of(fails=ASSETS[0]))
    latest[ASSETS[0]] = quick.get_latest_materialization_event(
        dg.AssetKey([NAME, ASSETS[0]])
    ).run_id  # type: ignore[union-attr]
    before = story(quick)
    remove_old_runs(quick, NAME, 30, now=LATER)
    # The first run had the latest check only if no later one made it, which it did.
    assert ids(quick) == {*list(latest.values())[1:], last} | {before["check"][0]}
    assert story(quick) == before


def test_all_that_a_run_leaves_goes_with_it(instance: dg.DagsterInstance):
    for _ in range(3):
        record(instance, "0")
    last = record(instance, "0")
    home = Path(instance.root_directory)
    assert len(list((home / "storage").iterdir())) == 4
    before = sqlite_history.size(instance)
    removed = remove_old_runs(instance, NAME, 30, now=LATER)
    assert len(removed.runs) == 3
    assert removed.bytes == before - sqlite_history.size(instance) > 3 * 100_000
    named = [str(file) for file in home.rglob("*") if any(run in str(file) for run in removed.runs)]
    assert named == []
    assert [path.name for path in (home / "storage").iterdir()] == [last]
    assert instance.all_logs(last)
    check = dg.AssetCheckKey(dg.AssetKey([NAME, "search_index"]), "whole")
    results = instance.event_log_storage.get_asset_check_execution_history(check, limit=9)
    assert [result.run_id for result in results] == [last]


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    "at", [*(pytest.param(at, marks=pytest.mark.proof) for at in ("logs", "row", "file")), "events"]
)
def test_killed_anywhere_the_next_time_removes_the_rest(
    instance: dg.DagsterInstance, at: str, monkeypatch: pytest.MonkeyPatch
):
    for _ in range(2):
        record(instance, "0")
    before = story(instance)
    places: dict[str, tuple[Any, str]] = {
        "logs": (instance.compute_log_manager, "delete_logs"),
        "row": (instance.run_storage, "delete_run"),
        "events": (instance.event_log_storage, "delete_events"),
        "file": (sqlite_history, "remove_file"),
    }

    def die(*args: object, **options: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*places[at], die)
        with pytest.raises(Killed):
            remove_old_runs(instance, NAME, 30, now=LATER)
    assert story(instance) == before
    monkeypatch.setattr(sqlite_history, "SETTLED_SECONDS", -60)
    remove_old_runs(instance, NAME, 30, now=LATER)
    (left,) = ids(instance)
    home = Path(instance.root_directory)
    shards = {path.stem for path in (home / "history" / "runs").glob("*.db")}
    assert shards == {left, "index"}
    assert [path.name for path in (home / "storage").iterdir()] == [left]
    assert {each.run_id for each in instance.fetch_materializations(
        dg.AssetKey([NAME, ASSETS[0]]), limit=9
    ).records} == {left}  # fmt: skip
    assert story(instance) == before


def test_a_file_that_was_written_just_now_is_nobody_s_remains(instance: dg.DagsterInstance):
    """Another process may be about to record its run."""
    record(instance, "0")
    file = Path(instance.event_log_storage.path_for_shard("0f0f"))  # type: ignore[attr-defined]
    file.touch()
    remove_old_runs(instance, NAME, 30, now=LATER)
    assert file.exists()
    os.utime(file, (0, 0))
    assert remove_old_runs(instance, NAME, 30, now=LATER).torn == ["0f0f"]
    assert not file.exists()


@pytest.mark.proof
def test_others_have_it_open_meanwhile(instance: dg.DagsterInstance):
    """A webserver reads, a daemon records, and none of them notices."""
    for _ in range(5):
        record(instance, "0")
    stop, faults, read = threading.Event(), [], 0

    def look() -> None:
        nonlocal read
        try:
            with opened(Path(instance.root_directory)) as other:
                while not stop.is_set() or read < 3:
                    for run in other.get_runs(limit=2):
                        try:
                            other.all_logs(run.run_id)
                        except OperationalError:  # its file is gone since it was listed
                            assert not other.has_run(run.run_id)
                    story(other)
                    record(other, "0")
                    read += 1
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    removed: list[Removed] = []
    while read < 2 and thread.is_alive():
        removed.append(remove_old_runs(instance, NAME, 30, now=LATER))
    stop.set()
    thread.join()
    assert not faults
    assert sum(len(each.runs) for each in removed) >= 5


@pytest.mark.proof
def test_a_database_that_somebody_holds_stays_as_it_is(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
):
    import sqlite3

    for _ in range(4):
        record(instance, "0")
    monkeypatch.setattr(sqlite_history, "PATIENCE_SECONDS", 0.05)
    index = Path(instance.event_log_storage.path_for_shard("index"))  # type: ignore[attr-defined]
    lines: list[str] = []
    shrink = sqlite_history.shrink

    def held(instance: dg.DagsterInstance) -> Iterator[str]:
        holder = sqlite3.connect(index, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        yield from shrink(instance)
        holder.close()

    monkeypatch.setattr(sqlite_history, "shrink", held)
    remove_old_runs(instance, NAME, 30, lines.append, now=LATER)
    assert any("index.db stays as large as it is: database is locked" in line for line in lines)
    before = index.stat().st_size
    assert list(shrink(instance)) == []
    assert index.stat().st_size < before


def test_an_instance_without_files_forgets_too(quick: dg.DagsterInstance):
    runs = [record(quick, "0") for _ in range(3)]
    removed = remove_old_runs(quick, NAME, 30, now=LATER)
    assert removed == Removed([runs[1], runs[0]], [], 0)
    assert ids(quick) == {runs[2]}


def test_the_job_runs_every_night_and_removes_its_own_runs(quick: dg.DagsterInstance):
    for _ in range(3):
        record(quick, "0")
    job = build_maintenance(NAME, 1e-9)
    assert job.name == maintenance_job(NAME)
    first = job.execute_in_process(instance=quick)
    assert first.success
    assert len(ids(quick)) == 2
    second = job.execute_in_process(instance=quick)
    assert first.run_id not in ids(quick)
    assert second.run_id in ids(quick)
    (output,) = [e for e in second.all_events if e.is_successful_output]
    assert output.event_specific_data.metadata["runs removed"].value == 1  # type: ignore[union-attr]
    schedule = daily(job, "Europe/Berlin", dg.DefaultScheduleStatus.RUNNING)
    assert schedule.cron_schedule.split()[1:] == ["3", "*", "*", "*"]
    assert schedule.execution_timezone == "Europe/Berlin"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_a_pipeline_says_how_long():
    pipeline = EmbeddingPipeline("quick", ["quickstart.yaml"], keep_runs_days=None)
    definitions = pipeline.definitions()
    names = ["quick", "quick_promote", "quick_rollback", "quick_retire"]
    assert [job.name for job in definitions.jobs or []] == names
    assert not definitions.schedules
    with pytest.raises(ConfigurationError, match="quick has keep_runs_days=0"):
        EmbeddingPipeline("quick", ["quickstart.yaml"], keep_runs_days=0)
