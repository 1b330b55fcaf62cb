"""Runs of the command line whose process was killed: Dagster would show them as going on for ever.

Dagster's daemon looks after the runs that it has launched; these are in a process of our own.
"""

import dataclasses
import json

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from resources.mongodb.holder import Holder

PROCESS = ".dagster/embeddings_process"
"""Tag of a run, which the Dagster UI does not show: in which process it is."""


def process_tag(run_id: str) -> dict[str, str]:
    """Says that a run is in this process."""
    return {PROCESS: json.dumps(dataclasses.asdict(Holder.here(run_id)))}


def fail_dead_runs(instance: dg.DagsterInstance, job: str) -> list[str]:
    """Mark those of a job as failed whose process is certainly gone; returns their ids."""
    going_on = [DagsterRunStatus.NOT_STARTED, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    failed = []
    for run in instance.get_runs(RunsFilter(job_name=job, statuses=going_on)):
        said = json.loads(run.tags.get(PROCESS, "null"))
        # A run that is executed again has the tags of the one before.
        if said and said["run"] == run.run_id and Holder.of(said).died():
            instance.report_run_failed(
                run,
                f"The process of this run, {said['pid']} on {said['host']}, ended in the middle of "
                "it: the next run goes on with what it has written down.",
            )
            failed.append(run.run_id)
    return failed
