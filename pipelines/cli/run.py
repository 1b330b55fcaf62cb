"""`embeddings run`: bring a pipeline's vectors and its index up to date."""

import dataclasses
from typing import TYPE_CHECKING, Any

from pipelines.cli.options import AsJson, Configs, Pipeline, progress_apart, sentences
from pipelines.cli.terminal import facts, print_json
from pipelines.framework.console import say

if TYPE_CHECKING:
    from pipelines.framework.execution import RunOutcome


def run(pipeline: Pipeline, as_json: AsJson = False, config: Configs = None) -> None:
    """Materialize a pipeline: embed what is new or changed, bring its index up to date."""
    from pipelines.framework import execution

    with sentences():
        with progress_apart(as_json):
            say("[bold]{pipeline}[/bold]", pipeline=pipeline)
            outcome = execution.run(pipeline, config or [])
        if as_json:
            print_json(_as_json(pipeline, outcome))
        else:
            show(outcome)


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


def _as_json(pipeline: str, outcome: "RunOutcome") -> dict[str, Any]:
    found, batches, report = outcome.planned.found, outcome.embedded, outcome.indexed.report
    return {
        "pipeline": pipeline,
        "run": outcome.run_id,
        "source_documents": {
            "documents": found.documents,
            "quarantined": found.rejected,
            **dataclasses.asdict(found.counts),
        },
        "embedding_batches": {
            "embedded": batches.embedded,
            "model": batches.model,
            "seconds": batches.seconds,
        },
        "stored_vectors": {
            "written": outcome.stored.written.vectors,
            "stored": outcome.stored.total,
        },
        "search_index": {
            "indexed": report.indexed,
            "stored": report.stored,
            "engine": report.engine,
            "changed": report.changed,
        },
        "failed_checks": [
            {"check": name, "why": description} for name, description in outcome.failed_checks
        ],
    }
