"""`embeddings history`: what changed in which run."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import moments
from pipelines.cli.options import AsJson, Pipeline, sentences
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.operations.history import IdleRuns, PastRun


def history(
    pipeline: Pipeline,
    limit: Annotated[
        int, typer.Option(min=1, help="So many lines; runs that changed nothing are one.")
    ] = 20,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moments.moment,
            metavar="DAY",
            help="Only runs from this day on, in UTC (2026-11-26), or of so long (7d).",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--every", help="Runs that changed nothing are lines of their own.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what each run changed, embedded and cost, or why it failed; the newest first."""
    from pipelines.operations.history import history as read

    with sentences():
        found = read(pipeline, limit=limit, since=since, every=every)
        if as_json:
            print_json([_as_document(entry) for entry in found])
        else:
            _show(pipeline, found)


def _show(pipeline: str, found: "Sequence[PastRun | IdleRuns]") -> None:
    from assets.work.budget import dollars
    from pipelines.operations.history import PastRun
    from resources.core.progress import duration

    if not found:
        say("no run of {pipeline} is on record here", pipeline=pipeline)
        return
    failed = any(isinstance(entry, PastRun) and entry.why for entry in found)
    numbers = ("new", "changed", "deleted", "embedded", "tokens", "cost", "quarantine", "took")
    why = [Column("why", prose=True)] if failed else []
    listing = Listing(
        "started (UTC)", "became", *(Column(name, right=True) for name in numbers), "by", "model",
        "run", *why,
    )  # fmt: skip
    for entry in found:
        if isinstance(entry, PastRun):
            counts = (entry.new, entry.changed_texts, entry.deleted, entry.embedded, entry.tokens)
            listing.row(
                moments.shown(entry.started),
                entry.state,
                *("-" if count is None else f"{count:,}" for count in counts),
                "-" if entry.cost_usd is None else dollars(entry.cost_usd),
                "-" if entry.quarantined is None else f"{entry.quarantined:,}",
                "-" if entry.seconds is None else duration(entry.seconds),
                entry.by,
                _model(entry),
                entry.id,
                *([entry.why] if failed else []),
            )
        else:
            listing.row(
                moments.shown(entry.last), _folded(entry), *[""] * (len(listing.columns) - 2),
                style="dim",
            )  # fmt: skip
    listing.show()


def _model(entry: "PastRun") -> str:
    """What embedded; a space that was built beside the one that serves has its own."""
    said = entry.model or "-"
    return f"{said}; beside it {entry.candidate}" if entry.candidate else said


def _folded(idle: "IdleRuns") -> str:
    if idle.runs == 1:
        return "1 run that changed nothing"
    return f"{idle.runs:,} runs that changed nothing, from {moments.shown(idle.first)}"


def _as_document(entry: "PastRun | IdleRuns") -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in dataclasses.asdict(entry).items()
    }
