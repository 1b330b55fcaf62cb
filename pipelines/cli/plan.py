"""`embeddings plan`: what a run would do, take and cost."""

import dataclasses
from typing import TYPE_CHECKING

import typer

from pipelines.cli.options import WRONG, AsJson, Configs, Pipeline, sentences
from pipelines.cli.terminal import facts, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.operations.plan import DryRun


def plan(pipeline: Pipeline, as_json: AsJson = False, config: Configs = None) -> None:
    """Say what a run would do and cost; touches nothing."""
    from pipelines.operations.plan import dry_run

    with sentences():
        found = dry_run(pipeline, config or [])
        if as_json:
            print_json(dataclasses.asdict(found))
        else:
            show(pipeline, found)
    if found.refused:
        raise typer.Exit(WRONG)


def show(pipeline: str, found: "DryRun") -> None:
    if found.compared:
        say("[bold]{pipeline}[/bold]: what a run would do", pipeline=pipeline)
        facts(_compared(found))
    else:
        say(
            "[bold]{pipeline}[/bold]: what a run would do, its deployment knows",
            pipeline=pipeline,
        )
    for name, key in found.missing.items():
        say(
            "[yellow]a run needs {name} for its {key}: set it, or choose another with `-c`"
            "[/yellow]",
            name=name,
            key=key,
        )
    for line in found.overruled:
        say("[yellow]{line}[/yellow]", line=line)
    if found.refused:
        say("[red]a run would stop:[/red] {why}", why=found.refused)


def _compared(found: "DryRun") -> list[tuple[str, str]]:
    from assets.work.budget import dollars
    from resources.core.progress import duration

    counts = found.counts
    rows = [
        (
            "source",
            f"{counts.source:,} documents: {counts.new:,} new, {counts.changed:,} changed, "
            f"{counts.unchanged:,} unchanged",
        )
    ]
    if found.rejected or found.held:
        rows.append(("quarantine", f"{found.rejected + found.held:,} cannot be embedded"))
    if counts.cut:
        cut = f"{counts.cut:,} have a vector of only the beginning of their text"
        rows.append(("cut", cut))
    for space, vectors in counts.replaced_spaces.items():
        rows.append(("replaces", f"{vectors:,} vectors of the space {space}"))
    about = "about " if found.estimate.cost_usd else ""
    time = "not known before the first run" if found.seconds is None else duration(found.seconds)
    rows += [
        ("to embed", f"{found.estimate.texts:,} texts with {found.model}"),
        ("tokens", f"about {found.estimate.tokens:,}"),
        ("cost", f"{about}{dollars(found.estimate.cost_usd)}"),
        ("time to embed", time),
        ("vectors reused", f"{counts.reused:,}"),
    ]
    if counts.narrowed:
        rows.append(("cut from wider vectors", f"{counts.narrowed:,}"))
    if counts.reformatted:
        rows.append(("to store in another format", f"{counts.reformatted:,}"))
    rows.append(("fields to refresh", f"{counts.refreshed:,}"))
    if counts.rechunked:
        rows.append(("cut the same by another chunker", f"{counts.rechunked:,}"))
    if counts.outdated:
        rows.append(("to delete, their documents were edited", f"{counts.outdated:,}"))
    rows.append(("to delete", f"{counts.deleted:,}"))
    return rows
