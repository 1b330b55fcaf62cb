"""`embeddings doctor`: whether a pipeline could run here."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import WRONG, AsJson, Configs, OnePipeline, sentences
from pipelines.cli.terminal import print_json
from pipelines.framework.console import say, styled

if TYPE_CHECKING:
    from pipelines.operations.doctor import Finding

_MARKS = {
    "ok": styled("[green]✓[/green]"),
    "note": styled("[dim]·[/dim]"),
    "wanted": styled("[yellow]![/yellow]"),
    "problem": styled("[red]✗[/red]"),
}


def doctor(
    pipeline: OnePipeline = None,
    online: Annotated[
        bool,
        typer.Option(
            "--online", help="Ask the provider for the model: free, of Voyage AI one short text."
        ),
    ] = False,
    as_json: AsJson = False,
    config: Configs = None,
) -> None:
    """Check whether a pipeline could run here, and how to fix what keeps it from running."""
    from pipelines.operations.doctor import examine

    with sentences():
        found: list[Finding] = []
        for finding in examine(pipeline, config or [], online=online):
            found.append(finding)
            if not as_json:
                _show(finding)
        problems = sum(finding.state == "problem" for finding in found)
        if as_json:
            print_json(
                {"ready": not problems, "findings": [dataclasses.asdict(each) for each in found]}
            )
        else:
            _sum_up(pipeline, problems, [each.topic for each in found if each.state == "wanted"])
    if problems:
        raise typer.Exit(WRONG)


def _sum_up(pipeline: str | None, problems: int, wanted: list[str]) -> None:
    if problems:
        say("\n[red]{problems} to fix[/red] before it can run", problems=problems)
        return
    once = f", once {' and '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} set"
    say(
        "\n[green]ready[/green]{what}{once}",
        what=f" to run {pipeline}" if pipeline else "",
        once=once if wanted else "",
    )


def _show(finding: "Finding") -> None:
    say(
        "{mark} [bold]{topic}[/bold]: {text}",
        mark=_MARKS[finding.state],
        topic=finding.topic,
        text=finding.text,
    )
    if finding.fix:
        say("    {fix}", fix=finding.fix)
