"""Runs that Dagster may forget: they are old, they changed nothing, and nothing refers to them.

Idle runs are most of a history: of a pipeline that looks every five minutes, 288 a day. They go by
Dagster's own calls, and with them what those leave behind: logs, and the SQLite file of a run.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from assets import run_tags
from assets.about import ASSETS, CANDIDATE
from pipelines.framework import sqlite_history
from pipelines.framework.sharding import index_job, shards_job

T = TypeVar("T")

WRITERS = (*ASSETS[1:], CANDIDATE)
"""Assets whose step may have changed something, even if it failed."""

_PARENT, _ROOT, _BACKFILL = "dagster/parent_run_id", "dagster/root_run_id", "dagster/backfill"
_CHECKS = {
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
}
_STEPS = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS}
_PAGE = 200


@dataclass(frozen=True)
class Removed:
    """What was removed.

    Attributes:
        runs: Ids of runs that were old and changed nothing.
        torn: Ids of runs that were deleted before, by us or in the UI, and had left files.
        bytes: By which the files of the history shrank; 0 where they are no files.
    """

    runs: list[str]
    torn: list[str]
    bytes: int


def maintenance_job(pipeline: str) -> str:
    return f"{pipeline}_maintenance"


def evaluation_job(pipeline: str) -> str:
    return f"{pipeline}_evaluation"


def removable(instance: dg.DagsterInstance, pipeline: str, before: datetime) -> list[str]:
    """Runs of a pipeline that ended before a moment and can go; the newest first."""
    old = {
        record.dagster_run.run_id: record.dagster_run
        for record in _ended(instance, pipeline, before)
        if _changed_nothing(instance, record.dagster_run, pipeline)
    }
    wanted = _latest(instance, pipeline, old)
    wanted |= {run_id for run_id, run in old.items() if _BACKFILL in run.tags}
    for run_id in wanted & old.keys():
        del old[run_id]
    _spare_parents(instance, old)
    return list(old)


def remove_old_runs(
    instance: dg.DagsterInstance,
    pipeline: str,
    keep_days: float,
    log: Callable[[str], None] = lambda line: None,
    now: datetime | None = None,
) -> Removed:
    """Remove the runs of a pipeline that are older than some days and can go.

    To be killed anywhere: the next time removes what this one left.

    Args:
        instance: Where they are recorded.
        pipeline: Name of the pipeline.
        keep_days: Younger ones stay.
        log: Takes lines of progress.
        now: For tests.
    """
    before = (now or datetime.now(UTC)) - timedelta(days=keep_days)
    runs = removable(instance, pipeline, before)
    size = sqlite_history.size(instance)
    if runs:
        log(f"{len(runs):,} runs ended before {before:%Y-%m-%d %H:%M} UTC and changed nothing")
    for done, run_id in enumerate(runs, 1):
        # The run last: whatever is left of one is found by it.
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        _delete_check_results(instance, run_id)
        instance.delete_run(run_id)
        sqlite_history.remove_file(instance, run_id)
        if done % 500 == 0:
            log(f"{done:,} of {len(runs):,} removed")
    torn = sqlite_history.torn(instance)
    for run_id in torn:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        instance.event_log_storage.delete_events(run_id)
        sqlite_history.remove_file(instance, run_id)
    if runs or torn:
        for line in sqlite_history.shrink(instance):
            log(line)
    return Removed(runs, torn, max(0, size - sqlite_history.size(instance)))


def _delete_check_results(instance: dg.DagsterInstance, run_id: str) -> None:
    """What Dagster itself leaves of a run that is deleted: 24 KB of one of ours."""
    from dagster._core.storage.event_log import SqlEventLogStorage
    from dagster._core.storage.event_log.schema import AssetCheckExecutionsTable as Results

    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as connection:
            connection.execute(Results.delete().where(Results.c.run_id == run_id))


def _ended(instance: dg.DagsterInstance, pipeline: str, before: datetime) -> Iterator[dg.RunRecord]:
    for job in (*_jobs(pipeline), IMPLICIT_ASSET_JOB_NAME):
        filters = dg.RunsFilter(job_name=job, statuses=FINISHED_STATUSES, created_before=before)
        cursor = None
        while page := instance.get_run_records(filters, limit=_PAGE, cursor=cursor):
            cursor = page[-1].dagster_run.run_id
            for record in page:
                ended = record.end_time or record.update_timestamp.timestamp()
                if ended < before.timestamp() and own(record.dagster_run, pipeline):
                    yield record


def _jobs(pipeline: str) -> tuple[str, ...]:
    own = (pipeline, shards_job(pipeline), index_job(pipeline))
    return (*own, maintenance_job(pipeline), evaluation_job(pipeline))


def own(run: dg.DagsterRun, pipeline: str) -> bool:
    """Whether a run is of a pipeline and of none other, by its tag or by its assets."""
    named = run.tags.get(run_tags.PIPELINE)
    if named is not None:
        return named == pipeline
    if run.job_name in _jobs(pipeline):
        return True
    keys = [*(run.asset_selection or ()), *(c.asset_key for c in run.asset_check_selection or ())]
    return bool(keys) and all(key.path[0] == pipeline for key in keys)


def _changed_nothing(instance: dg.DagsterInstance, run: dg.DagsterRun, pipeline: str) -> bool:
    """By what the run says of itself; else by its steps: whether one that writes has begun."""
    changed = run.tags.get(run_tags.CHANGED)
    if run.status == dg.DagsterRunStatus.SUCCESS and changed is not None:
        return changed == "0"
    writers = {f"{pipeline}__{asset}" for asset in WRITERS}
    planned = f"{pipeline}__source_documents"
    for record in instance.get_records_for_run(run.run_id, of_type=_STEPS).records:
        event = record.event_log_entry.get_dagster_event()
        if event.step_key in writers or (event.step_key == planned and event.is_step_success):
            return False
    return True


def _latest(instance: dg.DagsterInstance, pipeline: str, runs: Iterable[str]) -> set[str]:
    """The latest run of every job, asset and check that any of the runs is of."""
    found = {
        record.dagster_run.run_id
        for job in _jobs(pipeline)
        for record in instance.get_run_records(dg.RunsFilter(job_name=job), limit=1)
    }
    assets: set[dg.AssetKey] = set()
    checks: set[dg.AssetCheckKey] = set()
    for run_id in runs:
        assets |= instance.get_asset_keys_for_run(run_id)
        for record in instance.get_records_for_run(run_id, of_type=_CHECKS).records:
            data: Any = record.event_log_entry.get_dagster_event().event_specific_data
            checks.add(dg.AssetCheckKey(data.asset_key, data.check_name))
    for key in assets:
        found |= _latest_of_asset(instance, key)
    for check in checks:
        found |= _latest_of_check(instance, check)
    return found


def _latest_of_asset(instance: dg.DagsterInstance, key: dg.AssetKey) -> set[str]:
    """Runs of its latest events of each kind, and of those of each partition."""
    found: set[str | None] = set()
    for record in instance.get_asset_records([key]):
        entry = record.asset_entry
        found |= {entry.last_run_id, entry.last_planned_materialization_run_id}
    kinds = {
        dg.DagsterEventType.ASSET_MATERIALIZATION: instance.fetch_materializations,
        dg.DagsterEventType.ASSET_OBSERVATION: instance.fetch_observations,
    }
    for kind, fetch in kinds.items():
        found |= {record.run_id for record in fetch(key, limit=1).records}
        by_partition = instance.get_latest_storage_id_by_partition(key, kind)
        for ids in _chunks(list(by_partition.values())):
            some = dg.AssetRecordsFilter(asset_key=key, storage_ids=ids)
            found |= {record.run_id for record in fetch(some, limit=len(ids)).records}
    return {run_id for run_id in found if run_id}


def _latest_of_check(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> set[str]:
    """Runs of its latest execution, and of the latest that came to a result."""
    history = instance.event_log_storage.get_asset_check_execution_history
    summary = instance.event_log_storage.get_asset_check_summary_records([check]).get(check)
    found = {record.run_id for record in history(check, limit=1)}
    if summary is not None:
        records = (
            summary.last_check_execution_record,
            summary.last_completed_check_execution_record,
        )
        found |= {record.run_id for record in records if record is not None}
    return found


def _spare_parents(instance: dg.DagsterInstance, old: dict[str, dg.DagsterRun]) -> None:
    """Keep runs that one which stays was made from, as Dagster's retries are."""
    while True:
        wanted: set[str] = set()
        for tag in (_PARENT, _ROOT):
            for some in _chunks(list(old)):
                for run in instance.get_runs(dg.RunsFilter(tags={tag: some})):
                    if run.run_id not in old:
                        wanted.add(run.tags[tag])
        if not wanted:
            return
        for run_id in wanted:
            del old[run_id]


def _chunks(ids: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(ids), _PAGE):
        yield ids[start : start + _PAGE]
