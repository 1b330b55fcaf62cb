"""`embeddings run`: bring a pipeline's vectors and its index up to date."""

from typing import TYPE_CHECKING

from pipelines.cli.options import Configs, Pipeline, sentences
from pipelines.cli.terminal import facts
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.framework.execution import RunOutcome


def run(pipeline: Pipeline, config: Configs = None) -> None:
    """Materialize a pipeline: embed what is new or changed, bring its index up to date."""
    from pipelines.framework import execution

    with sentences():
        say("[bold]{pipeline}[/bold]", pipeline=pipeline)
        show(execution.run(pipeline, config or []))


def show(outcome: "RunOutcome") -> None:
    found, counts = outcome.planned.found, outcome.planned.found.counts
    batches, report = outcome.embedded, outcome.indexed.report
    counted = f"{found.documents:,} documents"
    if outcome.planned.chunked:
        counted += f" in {counts.source:,} chunks"
    embedded = "nothing embedded: every text has its vector"
    if batches.embedded:
        embedded = f"{batches.embedded:,} texts by {batches.model} in {batches.seconds:.1f} s"
    facts(
        {
            "source_documents": f"{counted}: {counts.new:,} new, {counts.changed:,} changed, "
            f"{counts.unchanged:,} unchanged, {counts.deleted:,} deleted"
            + (f", {found.rejected:,} quarantined" if found.rejected else ""),
            "embedding_batches": embedded,
            "stored_vectors": f"{outcome.stored.written.vectors:,} written, "
            f"{outcome.stored.total:,} stored",
            "search_index": f"{report.indexed:,} of {report.stored:,} indexed by the engine "
            f"{report.engine}" + ("" if report.changed else ", up to date"),
        }
    )
    for name, description in outcome.failed_checks:
        say("[yellow]check {name}:[/yellow] {why}", name=name, why=description)
