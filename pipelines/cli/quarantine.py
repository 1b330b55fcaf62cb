"""The commands `embeddings quarantine …`: what cannot be embedded, and what to do about it."""

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.options import (
    AsJson,
    Configs,
    OnePipeline,
    Pipeline,
    say_unseen,
    sentences,
)
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import say
from resources.core.errors import EmbeddingsError, QueryRefused

if TYPE_CHECKING:
    from assets.work.opened import Opened
    from pipelines.operations.quarantined import InQuarantine

app = typer.Typer(no_args_is_help=True, help="List what cannot be embedded; try or forget it.")

Ids = Annotated[
    list[str] | None, typer.Argument(help="Ids or places, as `list` shows them.", metavar="[ID…]")
]
Everything = Annotated[bool, typer.Option("--all", help="Every entry of the pipeline.")]


@app.command("list")
def list_(
    pipeline: OnePipeline = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Of all pipelines of the project.")
    ] = False,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Only those whose reason has this in it.")
    ] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="So many of each pipeline, the oldest; 0 for all.")
    ] = 0,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """List what cannot be embedded, and why."""
    from pipelines.operations.quarantined import in_quarantine

    if (pipeline is None) != everything:
        raise typer.BadParameter("name a PIPELINE, or give --all")
    with sentences():
        names = [pipeline] if pipeline else []
        found = in_quarantine(names, config or [], reason=reason, limit=limit)
        if pipeline and (unseen := found.unseen.get(pipeline)):
            raise EmbeddingsError(unseen.why)
        if as_json:
            print_json(_as_document(found))
        else:
            _show(pipeline, found)
        say_unseen(found.unseen)


@app.command("retry")
def retry(
    pipeline: Pipeline,
    ids: Ids = None,
    everything: Everything = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Let the next run ask the provider again for texts that it has refused.

    Records that the source spoils need no command: every run looks at them again.
    """
    from pipelines.framework.catalog import open_pipeline

    with sentences():
        _named(ids, everything)
        with open_pipeline(pipeline, config or []) as opened:
            count = opened.registry.quarantine.retry(*_chosen(opened, ids, everything))
        if as_json:
            print_json({"pipeline": pipeline, "retried": count})
        else:
            say(
                "{count:,} will be tried again by `embeddings run {pipeline}`",
                count=count,
                pipeline=pipeline,
            )


@app.command("drop")
def drop(
    pipeline: Pipeline,
    ids: Ids = None,
    everything: Everything = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Forget entries; what is still wrong comes back with the next run."""
    from pipelines.framework.catalog import open_pipeline

    with sentences():
        _named(ids, everything)
        with open_pipeline(pipeline, config or []) as opened:
            count = opened.registry.drop_quarantined(*_chosen(opened, ids, everything))
        if as_json:
            print_json({"pipeline": pipeline, "dropped": count})
        else:
            say(
                "{count:,} dropped from the quarantine of {pipeline}",
                count=count,
                pipeline=pipeline,
            )


def _show(pipeline: str | None, found: "InQuarantine") -> None:
    from resources.core.keys import shown

    if not found.entries:
        say("nothing of {pipeline} is in quarantine", pipeline=pipeline or "any pipeline seen")
        return
    spaces = {entry.space for entries in found.entries.values() for entry in entries}
    several = len(spaces) > 1 and pipeline is not None
    listing = Listing(
        "id or place",
        *([] if pipeline else ["pipeline"]),
        *(["space"] if several else []),
        "where",
        Column("reason", prose=True),
        Column("text", prose=True),
        "first seen",
        "last seen",
        Column("times", right=True),
    )
    for name, entries in found.entries.items():
        for entry in entries:
            listing.row(
                # Either of them is what `retry` and `drop` take.
                entry.where if entry.id is None else shown(entry.id),
                *([] if pipeline else [name]),
                *([entry.space] if several else []),
                "" if entry.id is None else entry.where,
                entry.reason,
                " ".join(entry.excerpt.split()),
                f"{entry.first_seen:%Y-%m-%d %H:%M}",
                f"{entry.last_seen:%Y-%m-%d %H:%M}",
                f"{entry.count:,}",
            )
    listing.show()
    for name, count in found.counts.items():
        if more := count - len(found.entries.get(name, ())):
            say("[dim]{more:,} more of {name}: --limit 0 shows all[/dim]", more=more, name=name)


def _as_document(found: "InQuarantine") -> list[dict[str, Any]]:
    from pipelines.operations.search.as_json import jsonable

    return [
        {"pipeline": name, **dataclasses.asdict(entry), "id": jsonable(entry.id)}
        for name, entries in found.entries.items()
        for entry in entries
    ]


def _named(ids: list[str] | None, everything: bool) -> None:
    if bool(ids) == everything:
        raise typer.BadParameter(
            "name the ids that `embeddings quarantine list` shows, or give --all",
            param_hint="[ID…]",
        )


def _chosen(
    opened: "Opened", ids: list[str] | None, everything: bool
) -> tuple[str, list[str] | None]:
    """The pipeline, and the names of its chosen entries, None for all.

    Raises:
        QueryRefused: Something is chosen that is not there.
    """
    from resources.core.keys import exactly

    entries, pipeline = opened.registry.quarantine, opened.name
    if everything:
        return pipeline, None
    names: list[str] = []
    for text in ids or []:
        found = entries.find(pipeline, text)
        if not found:
            raise QueryRefused(
                f"{text!r} is not in the quarantine of {pipeline}: see `embeddings quarantine list`"
            )
        if len(set(map(exactly, found.values()))) > 1:  # one of each space is not several
            raise QueryRefused(
                f"{text!r} may be several entries of the quarantine of {pipeline}: say which, as "
                f"{' or '.join(map(exactly, found.values()))}"
            )
        names += found
    return pipeline, names
