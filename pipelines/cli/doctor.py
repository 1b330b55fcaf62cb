"""`embeddings doctor`: whether a pipeline could run here."""

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.options import Configs, sentences
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
    pipeline: Annotated[str | None, typer.Argument(metavar="[PIPELINE]")] = None,
    config: Configs = None,
) -> None:
    """Check whether a pipeline could run here, and how to fix what keeps it from running."""
    from pipelines.operations.doctor import examine

    with sentences():
        problems, wanted = 0, []
        for finding in examine(pipeline, config or []):
            problems += finding.state == "problem"
            wanted += [finding.topic] if finding.state == "wanted" else []
            _show(finding)
    if problems:
        say("\n[red]{problems} to fix[/red] before it can run", problems=problems)
        raise typer.Exit(1)
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
