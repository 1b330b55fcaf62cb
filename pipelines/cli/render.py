"""How results look in a terminal, and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.markup import escape as plain
from rich.table import Table
from rich.text import Text

from assets.work.budget import dollars
from pipelines.framework.console import console
from pipelines.framework.execution import RunOutcome
from pipelines.operations.audit import Audit
from pipelines.operations.doctor import Finding
from pipelines.operations.lineage import ModelSummary, VectorLineage
from pipelines.operations.plan import DryRun
from pipelines.operations.search.as_json import jsonable
from resources.core.keys import shown
from resources.core.progress import duration
from resources.registry.ledger import Spend
from resources.registry.quarantine import Quarantined
from resources.registry.reranking import RerankSpend
from resources.search_index.mongodb import text_definition
from resources.search_index.mongodb.lifecycle import IndexState

__all__ = ["plain"]


def run(pipeline: str, outcome: RunOutcome) -> None:
    found, counts = outcome.planned.found, outcome.planned.found.counts
    batches, report = outcome.embedded, outcome.indexed.report
    table = new_table()
    table.add_column("asset")
    table.add_column("result")
    counted = f"{found.documents:,} documents"
    if outcome.planned.chunked:
        counted += f" in {counts.source:,} chunks"
    table.add_row(
        "source_documents",
        f"{counted}: {counts.new:,} new, {counts.changed:,} changed, "
        f"{counts.unchanged:,} unchanged, {counts.deleted:,} deleted"
        + (f", {found.rejected:,} quarantined" if found.rejected else ""),
    )
    embedded = "nothing embedded: every text has its vector"
    if batches.embedded:
        embedded = f"{batches.embedded:,} texts by {batches.model} in {batches.seconds:.1f} s"
    table.add_row("embedding_batches", embedded)
    table.add_row(
        "stored_vectors",
        f"{outcome.stored.written.vectors:,} written, {outcome.stored.total:,} stored",
    )
    table.add_row(
        "search_index",
        f"{report.indexed:,} of {report.stored:,} indexed by the engine {report.engine}"
        + ("" if report.changed else ", up to date"),
    )
    console.print(table)
    for name, description in outcome.failed_checks:
        console.print(f"[yellow]check {name}:[/yellow] {plain(description)}")


def dry_run(pipeline: str, found: DryRun) -> None:
    if found.compared:
        _compared(pipeline, found)
    else:
        console.print(f"[bold]{pipeline}[/bold]: what a run would do, its deployment knows")
    for name, key in found.missing.items():
        needed = f"a run needs {name} for its {key}: set it, or choose another with `-c`"
        console.print(f"[yellow]{needed}[/yellow]", soft_wrap=True)
    if found.refused:
        console.print(f"[red]a run would stop:[/red] {plain(found.refused)}", soft_wrap=True)


def _compared(pipeline: str, found: DryRun) -> None:
    counts = found.counts
    table = new_table(show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row(
        "source",
        f"{counts.source:,} documents: {counts.new:,} new, {counts.changed:,} changed, "
        f"{counts.unchanged:,} unchanged",
    )
    if found.rejected or found.held:
        table.add_row("quarantine", f"{found.rejected + found.held:,} cannot be embedded")
    if counts.cut:
        table.add_row("cut", f"{counts.cut:,} have a vector of only the beginning of their text")
    for space, vectors in counts.replaced_spaces.items():
        table.add_row("replaces", f"{vectors:,} vectors of the space {space}")
    table.add_row("to embed", f"{found.estimate.texts:,} texts with {found.model}")
    table.add_row("tokens", f"about {found.estimate.tokens:,}")
    about = "about " if found.estimate.cost_usd else ""
    table.add_row("cost", f"{about}{dollars(found.estimate.cost_usd)}")
    time = "not known before the first run" if found.seconds is None else duration(found.seconds)
    table.add_row("time to embed", time)
    table.add_row("vectors reused", f"{counts.reused:,}")
    if counts.reformatted:
        table.add_row("to store in another format", f"{counts.reformatted:,}")
    table.add_row("fields to refresh", f"{counts.refreshed:,}")
    if counts.rechunked:
        table.add_row("cut the same by another chunker", f"{counts.rechunked:,}")
    if counts.outdated:
        table.add_row("to delete, their documents were edited", f"{counts.outdated:,}")
    table.add_row("to delete", f"{counts.deleted:,}")
    console.print(f"[bold]{pipeline}[/bold]: what a run would do")
    console.print(table)


def spend(rows: Sequence[Spend]) -> None:
    if not rows:
        console.print("nothing has been embedded yet")
        return
    console.print(_spent(rows))
    if unanswered := sum(row.unanswered for row in rows):
        tokens = sum(row.unanswered_tokens for row in rows)
        console.print(
            f"{unanswered:,} requests without an answer, at most {tokens:,} tokens as estimated: "
            "under way, or cut off by a kill or a time-out, so nobody knows whether they are billed"
        )


def reranked(rows: Sequence[RerankSpend]) -> None:
    """What reranking took, apart from embedding; nothing where nothing was."""
    if not rows:
        return
    console.print("\nreranking")
    console.print(_spent(rows))
    if unbilled := sum(row.unbilled for row in rows):
        tokens = sum(row.unbilled_tokens for row in rows)
        cost = dollars(sum(row.unbilled_usd for row in rows))
        console.print(
            f"{unbilled:,} requests of which the bill is not known (no answer came, or none that "
            f"says it, as of `$rerank`): besides, {tokens:,} tokens and {cost} as estimated"
        )


def _spent(rows: Sequence[Spend] | Sequence[RerankSpend]) -> Table:
    table = new_table(show_footer=True)
    table.add_column("day", "total")
    table.add_column("pipeline")
    table.add_column("model", overflow="fold")
    for name in ("texts", "tokens", "requests"):
        total = sum(getattr(row, name) for row in rows)
        table.add_column(name, f"{total:,}", justify="right")
    cost = sum(row.cost_usd for row in rows)
    table.add_column("cost", dollars(cost), justify="right")
    for row in rows:
        numbers = (f"{getattr(row, name):,}" for name in ("texts", "tokens", "requests"))
        table.add_row(row.day, row.pipeline, row.model, *numbers, dollars(row.cost_usd))
    return table


def indexes(found: Sequence[IndexState], where: str, declared: Sequence[str]) -> None:
    if not found:
        built = " and ".join(declared)
        console.print(f"{where} has no search index yet: run the pipeline to build {built}")
        return
    table = new_table()
    table.add_column("index", style="cyan", no_wrap=True)
    table.add_column("type")
    table.add_column("status")
    table.add_column("serves")
    table.add_column("documents", justify="right")
    table.add_column("fields", overflow="fold")
    for state in found:
        fields = [
            f"{field.get('path')} ({field.get('similarity') or field.get('type')})"
            for field in state.definition.get("fields", [])
        ]
        fields += text_definition.described(state.definition)
        table.add_row(
            state.name + (" *" if state.name in declared else ""),
            state.type,
            state.status,
            "yes" if state.queryable else "no",
            "?" if state.indexed is None else f"{state.indexed:,}",
            "\n".join(fields),
        )
    console.print(table)
    console.print(f"[dim]of {where}; * is the pipeline's own[/dim]")


def models(pipeline: str, found: Sequence[ModelSummary]) -> None:
    if not found:
        console.print(f"{pipeline} has no vectors yet: `embeddings run {pipeline}`")
        return
    table = new_table()
    table.add_column("vectors", justify="right")
    table.add_column("model and space", overflow="fold")
    table.add_column("revision")
    table.add_column("width", justify="right")
    table.add_column("made", no_wrap=True)
    for row in found:
        table.add_row(
            f"{row.vectors:,}",
            f"{row.model}\n[dim]{row.space}[/dim]",
            (row.meaning.revision or "-") if row.meaning else "?",
            str(row.meaning.dimensions) if row.meaning else "?",
            f"{row.first:%Y-%m-%d %H:%M} to\n{row.last:%Y-%m-%d %H:%M}",
        )
    console.print(table)
    total = sum(row.vectors for row in found)
    console.print(f"[dim]{total:,} vectors; times in UTC[/dim]")


def models_as_json(found: Sequence[ModelSummary]) -> list[dict[str, Any]]:
    return [
        {
            "model": row.model,
            "space": row.space,
            "vectors": row.vectors,
            "first": row.first.isoformat(),
            "last": row.last.isoformat(),
            "meaning": row.meaning.to_document() if row.meaning else None,
        }
        for row in found
    ]


def lineage(found: VectorLineage) -> None:
    stored, meaning = found.lineage, found.meaning
    rows: dict[str, Any] = {
        "document": found.id,
        "model": stored.get("model"),
        "provider": meaning.provider if meaning else None,
        "revision": (meaning.revision or "-") if meaning else None,
        "dimensions": meaning.dimensions if meaning else None,
        "document prompt": repr(meaning.document_prompt) if meaning else None,
        "space": stored.get("space"),
        "text hash": stored.get("text_hash"),
        "cut by": stored.get("chunker") or "nothing: the whole document",
        **({"read": "only the beginning of the text"} if stored.get("cut") else {}),
        "batch": stored.get("batch"),
        "Dagster run": stored.get("run"),
        "made at": f"{stored['at']:%Y-%m-%d %H:%M:%S} UTC" if "at" in stored else None,
        "pipeline": stored.get("pipeline"),
    }
    rows |= (found.details or {}).get("versions") or {}
    table = new_table(show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text("?" if value is None else str(value)))
    console.print(table)


def audit(pipeline: str, found: Audit) -> None:
    counted = (
        f"{found.chunks:,} chunks of the source, {found.stored:,} vectors stored, "
        f"{found.compared:,} compared with their batch, {found.indexed:,} indexed"
    )
    if not found.findings:
        console.print(f"[green]✓[/green] {pipeline}: {counted}: all fits", soft_wrap=True)
        return
    console.print(f"[red]✗[/red] {pipeline}: {counted}", soft_wrap=True)
    table = new_table()
    table.add_column("between")
    table.add_column("count", justify="right")
    table.add_column("what", overflow="fold")
    table.add_column("--repair", overflow="fold")
    for finding in found.findings:
        table.add_row(
            finding.between,
            f"{finding.count:,}",
            Text(finding.text),
            finding.repaired or "by hand",
        )
    console.print(table)


def quarantine(pipeline: str, found: Sequence[Quarantined]) -> None:
    if not found:
        console.print(f"nothing of {pipeline} is in quarantine")
        return
    table = new_table()
    for name in ("id", "where", "reason", "text"):
        table.add_column(name, overflow="fold")
    for name in ("first seen", "last seen", "times"):
        table.add_column(name, justify="right")
    for entry in found:
        table.add_row(
            Text("-" if entry.id is None else shown(entry.id)),
            Text(entry.where),
            Text(entry.reason),
            shortened(entry.excerpt, 60),
            f"{entry.first_seen:%Y-%m-%d %H:%M}",
            f"{entry.last_seen:%Y-%m-%d %H:%M}",
            f"{entry.count:,}",
        )
    console.print(table)


def lineage_as_json(found: VectorLineage) -> dict[str, Any]:
    return {
        "id": jsonable(found.id),
        "lineage": jsonable(dict(found.lineage)),
        "meaning": found.meaning.to_document() if found.meaning else None,
        "batch": found.details,
    }


def next_steps() -> None:
    console.print(
        """
[bold]Next[/bold]  (commands are in .venv/bin)
  make dev                             runs, lineage, metadata in the Dagster UI
  embeddings serve                     a page to search with
  embeddings search quickstart "…"     ask it something yourself
  embeddings lineage quickstart        which model made which vector
  configs/quickstart.yaml              your own data: files, MongoDB
  embeddings run quickstart -c mongodb/server.yaml -c embedder/voyage.yaml
                                       Atlas and Voyage AI instead"""
    )


_MARKS = {
    "ok": "[green]✓[/green]",
    "note": "[dim]·[/dim]",
    "wanted": "[yellow]![/yellow]",
    "problem": "[red]✗[/red]",
}


def finding(found: Finding) -> None:
    # Whole lines: a path that is broken in two cannot be copied.
    line = f"{_MARKS[found.state]} [bold]{found.topic}[/bold]: {plain(found.text)}"
    console.print(line, soft_wrap=True)
    if found.fix:
        console.print(f"    {plain(found.fix)}", soft_wrap=True)


def new_table(**options: Any) -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, **options)


def shortened(text: str, width: int = 160) -> Text:
    line = " ".join(text.split())
    return Text(line if len(line) <= width else line[: width - 1] + "…")
