"""`embeddings spaces`, `promote`, `rollback`, `retire`: going over to another model."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import moments
from pipelines.cli.options import AsJson, Configs, Pipeline, progress_apart, sentences
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import errors, say

if TYPE_CHECKING:
    from assets.work.changing.flipping import Flipped
    from assets.work.changing.retiring import Retired
    from assets.work.gating import Verdict
    from pipelines.operations.spaces import Spaces

Space = Annotated[
    str,
    typer.Argument(
        help="Id of the space, or the beginning of one that no other has: see `spaces`.",
        metavar="SPACE",
    ),
]


def spaces(
    pipeline: Pipeline,
    history: Annotated[
        bool, typer.Option("--history", help="Every change: when, by whom, and why.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """List a pipeline's embedding spaces: which one serves, which could, and how they stand."""
    from pipelines.operations.spaces import spaces as read
    from pipelines.operations.spaces.as_json import spaces_as_json

    with sentences():
        found = read(pipeline, history=history, overrides=config or [])
        if as_json:
            print_json(spaces_as_json(found))
        else:
            show(found)
            if history:
                show_history(found)


def promote(
    pipeline: Pipeline,
    space: Space,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Let it serve whatever the gate says; the reason is kept in the history.",
        ),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Print the table of what the gate found.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Let another space serve: searches switch within a second, once the gate lets it through."""
    from assets.work.changing.promoting import Stopped
    from pipelines.operations.spaces import promote as change
    from pipelines.operations.spaces.as_json import flipped_as_json

    with sentences():
        try:
            with progress_apart(as_json):
                done = change(
                    pipeline, space, force=force, overrides=config or [], log=_say_progress
                )
        except Stopped as error:
            if why and not as_json:
                show_verdict(error.verdict)
            raise
        if as_json:
            print_json(flipped_as_json(done))
            return
        show_flipped(done)
        if why and done.verdict:
            show_verdict(done.verdict)


def rollback(
    pipeline: Pipeline,
    why: Annotated[str, typer.Option(metavar="REASON", help="Kept in the history.")] = "",
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Let the space serve that did before, at once; then say how stale it is."""
    from pipelines.operations.spaces import rollback as change
    from pipelines.operations.spaces.as_json import flipped_as_json

    with sentences():
        with progress_apart(as_json):
            done = change(pipeline, why=why, overrides=config or [], log=_say_progress)
        if as_json:
            print_json(flipped_as_json(done))
        else:
            show_flipped(done)


def retire(
    pipeline: Pipeline,
    space: Space,
    force: Annotated[
        str | None,
        typer.Option(
            metavar="REASON",
            help="Also the space that served before, sooner than `retire_after_days`; the reason "
            "is kept in the history.",
        ),
    ] = None,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Drop a space's index, its vectors, and the batches that nothing needs; killed, it goes on."""
    from pipelines.operations.spaces import retire as change
    from pipelines.operations.spaces.as_json import retired_as_json

    with sentences():
        with progress_apart(as_json):
            done = change(pipeline, space, force=force, overrides=config or [], log=_say_progress)
        if as_json:
            print_json(retired_as_json(done))
        else:
            show_retired(done)


def show(found: "Spaces") -> None:
    from resources.core.progress import size

    if not found.spaces:
        say(
            "{pipeline} has no space yet: `embeddings run {pipeline}` builds its first",
            pipeline=found.pipeline,
        )
        return
    numbers = ("vectors", "chunks", "missing", "quarantine", "bytes")
    listing = Listing(
        Column("space", style="cyan"), "state", *(Column(name, right=True) for name in numbers),
        "since (UTC)", "path", "index", "run", Column("gate", prose=True),
    )  # fmt: skip
    for each in found.spaces:
        entry = each.entry
        listing.row(
            entry.space_id + (" *" if each.wanted else ""),
            each.state,
            f"{entry.vectors:,}",
            f"{entry.chunks:,}",
            f"{entry.missing:,}",
            f"{entry.quarantined:,}",
            size(entry.bytes),
            moments.shown(entry.since) if entry.since else "-",
            each.path,
            each.index,
            entry.run[:8] or "-",
            entry.gate.partition(": ")[0] or "-",
            style="dim" if each.state == "retired" else "",
        )
    listing.show()
    say("[dim]in {where}; * is what the settings want[/dim]", where=found.store)


def show_history(found: "Spaces") -> None:
    listing = Listing(
        "when (UTC)", "what", Column("space", style="cyan"), "before", "by",
        Column("why", prose=True),
    )  # fmt: skip
    for each in found.history:
        listing.row(
            moments.shown(each.at) if each.at else "-",
            each.event,
            each.space_id,
            each.before or "-",
            each.by or "-",
            each.why or "-",
        )
    listing.show()


def show_flipped(done: "Flipped") -> None:
    say(
        "[green]{now}[/green] serves {pipeline} now, in place of {before}: searches switch within "
        "a second",
        now=done.now,
        pipeline=done.pipeline,
        before=done.before or "nothing",
    )
    if done.behind:
        say("{behind}", behind=done.behind)
    if done.change.why:
        say("{why}", why=done.change.why)
    for note in done.notes:
        say("[yellow]{note}[/yellow]", note=note)
    if done.before and done.change.event == "promoted":
        say("[dim]the way back: `embeddings rollback {name}`[/dim]", name=done.pipeline)
    elif done.before:
        say(
            "[dim]forward again: `embeddings promote {name} {before}`[/dim]",
            name=done.pipeline,
            before=done.before,
        )


def show_verdict(verdict: "Verdict") -> None:
    listing = Listing("criterion", "serving", "candidate", Column("asked", prose=True), "passed")
    words = {True: "yes", False: "no", None: "-"}
    for row in verdict.rows:
        listing.row(
            row.criterion, row.serving or "-", row.candidate, row.allowed or "-", words[row.passed]
        )
    listing.show()


def show_retired(done: "Retired") -> None:
    say(
        "{space} of {pipeline} is retired: {vectors:,} vectors{index} and {batches:,} embedding "
        "batches are gone",
        space=done.space_id,
        pipeline=done.pipeline,
        vectors=done.vectors,
        batches=done.batches,
        index=f", the index {done.index}" if done.index else "",
    )
    if not done.index:
        say("[dim]its index stays: others have vectors at its path[/dim]")
    if done.resumed:
        say("[dim]it went on where an earlier attempt had ended[/dim]")


def _say_progress(line: str) -> None:
    errors.say("[dim]{line}[/dim]", line=line)
