"""`embeddings status`: how all pipelines are, at a look; its exit status is for monitoring."""

import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli import moments
from pipelines.cli.options import WRONG, AsJson, Configs, Pipelines, sentences
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.operations.status import IndexStatus, PipelineStatus

_UNKNOWN = "?"


def status(
    pipelines: Pipelines = None,
    max_age: Annotated[
        timedelta | None,
        typer.Option(
            parser=moments.length,
            metavar="LENGTH",
            help="A pipeline whose last good run ended longer ago is not well: 26h, 90m, 7d. "
            "[default: the pipeline's own `freshness: fail`]",
        ),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds to wait for each deployment.")
    ] = 10,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Say how pipelines are: what serves, its last run, its cost; exit status 1 if one is not well.

    A server that cannot be reached hides no other pipeline; an embedded one that sleeps is left
    asleep.
    """
    from pipelines.operations.status import status as look

    with sentences():
        found = look(pipelines or [], config or [], max_age=max_age, patience=timeout)
        if as_json:
            print_json([_as_document(row) for row in found])
        else:
            _show(found)
    if any(row.wrong for row in found):
        raise typer.Exit(WRONG)


def _show(found: "Sequence[PipelineStatus]") -> None:
    from assets.work.budget import dollars

    if not found:
        say("there is no pipeline here: `embeddings init` makes a project with one")
        return
    month = f"{datetime.now(UTC):%B}"
    listing = Listing(
        "pipeline",
        Column("vectors", right=True),
        Column("quarantine", right=True),
        "index",
        "last run",
        Column("good run\nago", right=True),
        Column(f"spent in\n{month}", right=True),
        "space",
        "run",
    )
    for row in found:
        spent = None
        if row.spent_usd is not None:
            spent = row.spent_usd + (row.reranked_usd or 0)
        listing.row(
            row.pipeline,
            _count(row.vectors),
            _count(row.quarantined),
            "asleep" if row.asleep else _index(row.index),
            row.last_run.state if row.last_run else "none",
            _ago(row.age_seconds),
            _UNKNOWN if spent is None else dollars(spent) if spent else "$0",
            row.space or ("-" if row.index else _UNKNOWN),
            row.last_run.id if row.last_run else "-",
        )
    listing.show()
    _show_others(found)
    for row in found:
        for note in row.notes:
            say("[yellow]![/yellow] {pipeline}: {note}", pipeline=row.pipeline, note=note)
        for why in row.wrong:
            say("[red]✗ {pipeline}:[/red] {why}", pipeline=row.pipeline, why=why)
    if asleep := [row.pipeline for row in found if row.asleep]:
        say(
            "[dim]asleep: the embedded server of {names} is not running; the next run or search "
            "starts it[/dim]",
            names=", ".join(asleep),
        )
    if not any(row.wrong for row in found):
        say("[green]✓ all well[/green]")


def _show_others(found: "Sequence[PipelineStatus]") -> None:
    """The spaces that are beside those that serve."""
    others = [(row, each) for row in found for each in row.others]
    if not others:
        return
    listing = Listing(
        "pipeline",
        "space beside",
        "state",
        Column("vectors", right=True),
        Column("missing", right=True),
        Column("behind", right=True),
        Column("size", right=True),
        "path",
    )
    for row, each in others:
        listing.row(
            row.pipeline,
            each.space + (" *" if each.wanted else ""),
            each.state,
            f"{each.vectors:,}",
            f"{each.missing:,}",
            _count(each.behind),
            f"{each.bytes / 1e6:,.1f} MB",
            each.path,
        )
    listing.show()
    wanted = "; * is what the settings ask for" if any(each.wanted for _, each in others) else ""
    say(
        "[dim]as their latest runs left them; behind: chunks of the serving space that it has no "
        "vector of, or one of another text{wanted}[/dim]",
        wanted=wanted,
    )


def _count(value: int | None) -> str:
    return _UNKNOWN if value is None else f"{value:,}"


def _index(index: "IndexStatus | None") -> str:
    if index is None:
        return _UNKNOWN
    if index.engine is None:
        return index.state
    about = "" if index.counted else "about "
    return f"{index.state}, {index.indexed:,} of {about}{index.stored:,}, {index.engine}"


def _ago(seconds: float | None) -> str:
    from resources.core.progress import duration

    if seconds is None:
        return "-"
    days = int(seconds // 86_400)
    return f"{days} days" if days > 1 else duration(max(0.0, seconds))


def _as_document(row: "PipelineStatus") -> dict[str, Any]:
    found = dataclasses.asdict(row)
    if last := found["last_run"]:
        for name in ("started", "ended"):
            last[name] = last[name] and last[name].isoformat()
    return {**found, "well": not row.wrong}
