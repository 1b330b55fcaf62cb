"""Runs of a pipeline, as far as a sensor has to know of them."""

import dagster as dg
from dagster._core.storage.dagster_run import IN_PROGRESS_RUN_STATUSES, NOT_FINISHED_STATUSES
from dagster._core.storage.tags import RUN_KEY_TAG

from assets import run_tags

LOOKED_AT = 20
"""Runs of a pipeline among which those are that only measure, or clean up."""

_ENDED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.CANCELED,
)


def under_way(instance: dg.DagsterInstance, pipeline: str) -> dg.DagsterRun | None:
    """A run that works on a pipeline, or is about to."""
    return _first(instance, pipeline, [*NOT_FINISHED_STATUSES, *IN_PROGRESS_RUN_STATUSES])


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
        # Its other jobs have its name with something behind.
        if not run.job_name.startswith(f"{pipeline}_"):
            return run
    return None
