"""`embeddings maintain`: Dagster forgets old runs that changed nothing."""

from typing import Annotated

import typer

from pipelines.cli.options import AsJson, Pipeline, progress_apart, sentences
from pipelines.cli.terminal import print_json
from pipelines.framework.console import console, say


def maintain(
    pipeline: Pipeline,
    keep_days: Annotated[
        float | None,
        typer.Option(min=0, help="Default: `keep_runs_days` of the pipeline, which is 30."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which runs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old runs that changed nothing from Dagster's history; the job does it every night."""
    from datetime import UTC, datetime, timedelta

    from pipelines.framework.catalog import as_pipeline
    from pipelines.framework.instance import project_instance
    from pipelines.framework.old_runs import Removed, removable, remove_old_runs
    from resources.core.errors import ConfigurationError

    with sentences(), project_instance() as instance, progress_apart(as_json):
        found = as_pipeline(pipeline)
        days = found.keep_runs_days if keep_days is None else keep_days
        if days is None:
            raise ConfigurationError(
                f"pipeline {found.name} keeps all its runs (keep_runs_days=None): say with "
                "--keep-days how old those are that can go"
            )
        if dry_run:
            runs = removable(instance, found.name, datetime.now(UTC) - timedelta(days=days))
            removed = Removed(runs, [], 0)
        else:
            removed = remove_old_runs(instance, found.name, days, console.print)
    if as_json:
        print_json({"dry_run": dry_run, "runs": removed.runs, "bytes": removed.bytes})
        return
    if dry_run:
        for run_id in removed.runs:
            say("{run}", run=run_id)
        say("runs that would go: {count}", count=f"{len(removed.runs):,}")
    else:
        say(
            "runs removed: {count}; freed: {megabytes} MB",
            count=f"{len(removed.runs):,}",
            megabytes=f"{removed.bytes / 1e6:.1f}",
        )
