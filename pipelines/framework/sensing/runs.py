"""Runs of a pipeline, as far as a sensor has to know of them."""

import dagster as dg
from dagster._core.definitions.assets.job.asset_job import IMPLICIT_ASSET_JOB_NAME
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.tags import RUN_KEY_TAG

from assets import run_tags
from assets.about import ASSETS, CANDIDATE
from pipelines.framework.sharding import BATCHES, SOURCE, STORED, index_job, jobs_of

LOOKED_AT = 20
"""Runs without a job, among which those of a pipeline are looked for."""
FOLLOWS_SECONDS = 90.0
"""After the end of one, within which the sensor of the shards has launched what comes next."""


def under_way(instance: dg.DagsterInstance, pipeline: str, shards: int, now: float) -> str:
    """What works on a pipeline, or is about to, or after which the next is about to come.

    Args:
        instance: Where its runs are.
        pipeline: Its name.
        shards: In how many it is divided: their runs are launched by a sensor of their own.
        now: In seconds since 1970.

    Returns:
        In a few words; empty where there is nothing.
    """
    if backfill := unfinished_backfill(instance, pipeline):
        return f"the backfill {backfill}"
    going_on = _first(instance, pipeline, NOT_FINISHED_STATUSES) or _of_assets(instance, pipeline)
    if going_on is None and shards > 1:
        before = latest(instance, pipeline)
        recent = before and now - (before.end_time or 0.0) < FOLLOWS_SECONDS
        # Its index is the last that comes.
        if before and recent and before.dagster_run.is_success:
            last = before.dagster_run.job_name == index_job(pipeline)
            going_on = None if last else before
    return f"the run {going_on.dagster_run.run_id}" if going_on else ""


def unfinished_backfill(instance: dg.DagsterInstance, pipeline: str) -> str:
    """The id of a backfill that plans or carries out; empty where there is none."""
    going_on = [BulkActionStatus.REQUESTED, BulkActionStatus.CANCELING]
    ours = {dg.AssetKey([pipeline, asset]) for asset in (SOURCE, BATCHES, STORED)}
    for backfill in instance.get_backfills(BulkActionsFilter(statuses=going_on)):
        if ours.intersection(backfill.asset_selection or ()):
            return backfill.backfill_id
    return ""


def latest(instance: dg.DagsterInstance, pipeline: str) -> dg.RunRecord | None:
    """The latest run of a pipeline that has ended."""
    return _first(instance, pipeline, FINISHED_STATUSES)


def of_key(instance: dg.DagsterInstance, run_key: str) -> dg.DagsterRun | None:
    """The run that was asked for by a key; of several, such as one executed again, the latest."""
    found = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}), limit=1)
    return found[0] if found else None


def _first(
    instance: dg.DagsterInstance, pipeline: str, statuses: list[dg.DagsterRunStatus]
) -> dg.RunRecord | None:
    """The latest of its own jobs, but for those that only measure, or clean up."""
    tags = {run_tags.PIPELINE: pipeline}
    found: list[dg.RunRecord] = []
    for job in jobs_of(pipeline):
        wanted = dg.RunsFilter(job_name=job, tags=tags, statuses=statuses)
        found += instance.get_run_records(wanted, limit=1)
    return max(found, key=lambda record: record.storage_id, default=None)


def _of_assets(instance: dg.DagsterInstance, pipeline: str) -> dg.RunRecord | None:
    """A run of its assets without a job that has not ended: from their pages, or of a backfill."""
    ours = {dg.AssetKey([pipeline, asset]) for asset in (*ASSETS, CANDIDATE)}
    wanted = dg.RunsFilter(job_name=IMPLICIT_ASSET_JOB_NAME, statuses=NOT_FINISHED_STATUSES)
    for record in instance.get_run_records(wanted, limit=LOOKED_AT):
        if ours.intersection(record.dagster_run.asset_selection or ()):
            return record
    return None
