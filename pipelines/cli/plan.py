"""`embeddings plan`: what a run would do, take and cost."""

import dataclasses
from typing import TYPE_CHECKING

import typer

from pipelines.cli.options import WRONG, AsJson, Configs, Pipeline, sentences
from pipelines.cli.terminal import facts, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.operations.plan import DryRun, LanePlan


def plan(pipeline: Pipeline, as_json: AsJson = False, config: Configs = None) -> None:
    """Say what a run would do and cost; touches nothing."""
    from pipelines.operations.plan import dry_run

    with sentences():
        found = dry_run(pipeline, config or [])
        if as_json:
            print_json({**dataclasses.asdict(found), "total": dataclasses.asdict(found.total)})
        else:
            show(pipeline, found)
    if found.refused:
        raise typer.Exit(WRONG)


def show(pipeline: str, found: "DryRun") -> None:
    if found.compared:
        say("[bold]{pipeline}[/bold]: what a run would do", pipeline=pipeline)
        _lanes(found)
    else:
        say(
            "[bold]{pipeline}[/bold]: what a run would do, its deployment knows",
            pipeline=pipeline,
        )
    for name, key in (found.missing or {}).items():
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


def _lanes(found: "DryRun") -> None:
    """The space that serves, what is built beside it, and what both take."""
    from assets.work.budget import dollars

    beside = found.candidate
    if beside is None:
        facts(_compared(found))
        return
    if found.left_alone:
        say(
            "the space {space} serves and is left as it is: `keep_serving: false`",
            space=found.space,
        )
    else:
        say("in the space {space}, which serves:", space=found.space)
        facts(_compared(found))
    begun = "begun by an earlier run" if beside.resumed else "a new one"
    say("beside it, in the space {space}, {begun}:", space=beside.space, begun=begun)
    where = [("path", beside.path), ("index", beside.index)]
    facts([*_compared(beside), *where])
    if not found.left_alone:
        total = found.total
        about = "about " if total.cost_usd else ""
        cost = f"{about}{dollars(total.cost_usd)}"
        facts(
            [
                ("both together", f"{total.texts:,} texts, about {total.tokens:,} tokens"),
                ("cost of both", cost),
            ]
        )


def _compared(found: "LanePlan") -> list[tuple[str, str]]:
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
