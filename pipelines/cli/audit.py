"""`embeddings audit`: source, batches, vectors and index against one another."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import WRONG, AsJson, Configs, Pipeline, progress_apart, sentences
from pipelines.cli.terminal import Column, Listing, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.operations.audit import Audit


def audit(
    pipeline: Pipeline,
    repair: Annotated[
        bool, typer.Option("--repair", help="Run the pipeline on what does not fit.")
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Compare source, batches, vectors and index with one another; exit status 1 if they differ."""
    from pipelines.operations import audit as auditing

    with sentences():
        with progress_apart(as_json):
            found = auditing.audit(pipeline, config or [], _progress)
            if repair and found.findings:
                show(pipeline, found)
                auditing.repair(pipeline, config or [], _progress)
                found = auditing.audit(pipeline, config or [], _progress)
        if as_json:
            print_json(dataclasses.asdict(found))
        else:
            show(pipeline, found)
    if found.findings:
        raise typer.Exit(WRONG)


def _progress(line: str) -> None:
    say("{line}", line=line)


def show(pipeline: str, found: "Audit") -> None:
    counted = (
        f"{found.chunks:,} chunks of the source, {found.stored:,} vectors stored, "
        f"{found.compared:,} compared with their batch, {found.indexed:,} indexed"
    )
    if found.others:
        counted += f", in the space {found.space} at {found.path}, which serves"
        beside = ", ".join(found.others)
        say("[dim]· not looked at: {beside}, beside it[/dim]", beside=beside)
    if not found.findings:
        say("[green]✓[/green] {pipeline}: {counted}: all fits", pipeline=pipeline, counted=counted)
        return
    say("[red]✗[/red] {pipeline}: {counted}", pipeline=pipeline, counted=counted)
    listing = Listing(
        "between", Column("count", right=True), Column("what", prose=True), Column("--repair")
    )
    for finding in found.findings:
        listing.row(
            finding.between, f"{finding.count:,}", finding.text, finding.repaired or "by hand"
        )
    listing.show()
