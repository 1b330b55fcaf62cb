"""The job that keeps a pipeline's history short, off the way of its runs."""

import zlib

import dagster as dg

from assets import run_tags
from pipelines.framework.old_runs import maintenance_job, remove_old_runs

HOUR = 3


def build_maintenance(pipeline: str, keep_days: float) -> dg.JobDefinition:
    """A job of one step that removes old runs which changed nothing."""

    @dg.op(
        name=f"{pipeline}_old_runs",
        description=f"Removes runs of {pipeline} that are older than {keep_days:g} days and "
        "changed nothing. The latest of every job, asset and check stays.",
    )
    def old_runs(context: dg.OpExecutionContext) -> None:
        removed = remove_old_runs(context.instance, pipeline, keep_days, context.log.info)
        context.add_output_metadata(
            {"runs removed": len(removed.runs), "bytes freed": removed.bytes}
        )

    @dg.job(
        name=maintenance_job(pipeline),
        description=f"Keep the history of {pipeline} short.",
        executor_def=dg.in_process_executor,
        run_tags={
            run_tags.PIPELINE: pipeline,
            run_tags.REASON: run_tags.MAINTENANCE,
            run_tags.CHANGED: "0",  # of the corpus
        },
    )
    def maintenance() -> None:
        old_runs()

    return maintenance


def daily(
    job: dg.JobDefinition, timezone: str, status: dg.DefaultScheduleStatus
) -> dg.ScheduleDefinition:
    """Its schedule: once a night, each pipeline in a minute of its own."""
    minute = zlib.crc32(job.name.encode()) % 60
    return dg.ScheduleDefinition(
        name=f"{job.name}_schedule",
        job=job,
        cron_schedule=f"{minute} {HOUR} * * *",
        execution_timezone=timezone,
        default_status=status,
        description=job.description,
    )
