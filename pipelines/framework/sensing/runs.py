"""Runs of a pipeline, as far as a sensor has to know of them."""

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.tags import RUN_KEY_TAG

from assets import run_tags
from pipelines.framework.sharding import SECONDS, index_job, shards_job

LOOKED_AT = 20
"""Runs of a pipeline among which those are that only measure, or clean up."""
FOLLOWS_SECONDS = 3 * SECONDS
"""After the end of one, within which the sensor of the shards has launched what comes next."""

_ENDED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)


def under_way(
    instance: dg.DagsterInstance, pipeline: str, shards: int, now: float
) -> dg.DagsterRun | None:
    """A run that works on a pipeline, or is about to; or after which the next one is about to come.

    Args:
        instance: Where its runs are.
        pipeline: Its name.
        shards: In how many it is divided: their runs are launched by a sensor of their own.
        now: In seconds since 1970.
    """
    going_on = _first(instance, pipeline, [*NOT_FINISHED_STATUSES, *IN_PROGRESS_RUN_STATUSES])
    if going_on is not None or shards == 1:
        return going_on
    before = latest(instance, pipeline)
    if before is None or before.job_name == index_job(pipeline) or not before.is_success:
        return None
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[before.run_id]), limit=1)
    return before if now - (record.end_time or 0.0) < FOLLOWS_SECONDS else None


def latest(instance: dg.DagsterInstance, pipeline: str) -> dg.DagsterRun | None:
    """The latest run of a pipeline that has ended."""
    return _first(instance, pipeline, list(_ENDED))


def of_key(instance: dg.DagsterInstance, run_key: str) -> dg.DagsterRun | None:
    """The run that was asked for by a key; of several, such as one executed again, the latest."""
    found = instance.get_runs(dg.RunsFilter(tags={RUN_KEY_TAG: run_key}), limit=1)
    return found[0] if found else None


def _first(
    instance: dg.DagsterInstance, pipeline: str, statuses: list[dg.DagsterRunStatus]
) -> dg.DagsterRun | None:
    wanted = dg.RunsFilter(tags={run_tags.PIPELINE: pipeline}, statuses=statuses)
    for run in instance.get_runs(wanted, limit=LOOKED_AT):
        if run.job_name in (pipeline, shards_job(pipeline), index_job(pipeline)):
            return run
    return None
