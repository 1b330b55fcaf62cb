"""What assets came to, as metadata of their materializations, and for whoever asked for the run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dagster as dg
import numpy as np

from assets.work.comparing import Planned
from assets.work.embedding import Embedded
from assets.work.proving import Indexed, Probe
from assets.work.storing import Stored
from resources.core.chunks import Chunk
from resources.core.keys import shown
from resources.core.space import EmbeddingSpace
from resources.registry.quarantine import Quarantined
from resources.search_index.engine import MergeReport
from resources.vector_store.format_quality import FormatQuality

Outcome = Planned | Embedded | Stored | Indexed

_collected: ContextVar[list[Outcome] | None] = ContextVar("outcomes", default=None)


@contextmanager
def outcomes() -> Iterator[list[Outcome]]:
    """What the assets come to that this process materializes, in order."""
    found: list[Outcome] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def result(outcome: Outcome, metadata: dict[str, Any]) -> dg.MaterializeResult:
    """An asset's result; the outcome itself is kept for `outcomes`."""
    collected = _collected.get()
    if collected is not None:
        collected.append(outcome)
    return dg.MaterializeResult(metadata=metadata)


def planned(outcome: Planned) -> dict[str, Any]:
    plan, found = outcome.plan, outcome.found
    counts = found.counts
    metadata = {
        "dagster/row_count": counts.source,
        "source": outcome.source,
        "documents": found.documents,
        "chunked": outcome.chunked or "no",
        "space": plan.space.id,
        "new": counts.new,
        "changed": counts.changed,
        "of a text that was cut": counts.cut,
        "unchanged": counts.unchanged,
        "to store in another format": counts.reformatted,
        "cut the same by another chunker": counts.rechunked,
        "fields changed": counts.refreshed,
        "deleted": counts.deleted,
        "outdated": counts.outdated,
        "to embed": counts.to_embed,
        "vectors reused": counts.reused,
        "set aside": counts.set_aside,
        "rejected now": found.rejected,
        "refused before": counts.held,
        "left quarantine": outcome.healed,
        "characters": found.characters,
        "seconds": round(found.seconds, 3),
        "records per second": round(found.rate, 1),
        "plan": plan.id,
        "preview": dg.MetadataValue.md(_chunks(found.preview)),
    }
    if counts.replaced_spaces:
        metadata["replaces spaces"] = dg.MetadataValue.json(dict(counts.replaced_spaces))
    if outcome.quarantined:
        metadata["quarantine"] = dg.MetadataValue.table(_records(outcome.quarantined))
    return metadata


def embedded(outcome: Embedded) -> dict[str, Any]:
    space = outcome.space
    metadata = {
        "dagster/row_count": outcome.chunks,
        "dagster/uri": f"{outcome.url}/batches/{space.id}",
        "provider": space.provider,
        "model": outcome.model,
        "space": space.id,
        "dimensions": space.dimensions,
        "batches written": outcome.batches,
        "embedded": outcome.embedded,
        "vectors copied": outcome.copied,
        "already embedded": outcome.already_there,
        "refused by the provider": outcome.refused,
        "longer than the model reads": outcome.truncated,
        "plan": outcome.plan,
        "estimated before": str(outcome.estimate),
        **({"tokens": outcome.tokens} if outcome.tokens is not None else {}),
        **({"cost (USD)": outcome.cost_usd} if outcome.cost_usd is not None else {}),
        "requests": outcome.requests,
        "retries": outcome.retries,
        "seconds throttled": round(outcome.throttled_seconds, 3),
        "bytes written": outcome.bytes,
        "seconds": round(outcome.seconds, 3),
        "texts per second": round(outcome.embedded / max(outcome.seconds, 1e-9), 1),
        "space in full": dg.MetadataValue.json(space.to_document()),
        "dagster/column_schema": _column_schema(space),
    }
    if outcome.preview:
        metadata["preview"] = dg.MetadataValue.md(_vectors(outcome))
    return metadata


def stored(outcome: Stored) -> dict[str, Any]:
    written = outcome.written
    return {
        "dagster/row_count": outcome.total,
        "dagster/uri": outcome.where,
        "vectors written": written.vectors,
        "fields refreshed": written.refreshed,
        "deleted": written.deleted,
        "set aside by MongoDB, or somebody else's": outcome.aside,
        "withdrawn (no vector of their text)": written.withdrawn,
        "left out (quarantined, or gone)": written.missing,
        "vectors stored": outcome.total,
        **({} if outcome.removed is None else {"old batches removed": outcome.removed}),
        "plan": outcome.plan,
        "stored as": outcome.stored_as,
        "lineage at": outcome.lineage_path,
        **({} if outcome.clipped is None else {"values clipped to int8": outcome.clipped}),
        "seconds": round(written.seconds, 3),
        "vectors per second": round(written.vectors / max(written.seconds, 1e-9), 1),
        "vectors by space": dg.MetadataValue.md(_spaces(outcome.spaces)),
        **_formats(outcome.formats, outcome.values_as, outcome.total),
    }


def indexed(outcome: Indexed) -> dict[str, Any]:
    report, probes = outcome.report, outcome.probes
    return {
        "dagster/row_count": report.indexed,
        "index": outcome.name,
        "engine": report.engine,
        "space": outcome.space.id,
        "similarity": outcome.similarity,
        "filter fields": ", ".join(outcome.filter_fields) or "none",
        "rebuilt": report.changed,
        "vectors stored": report.stored,
        "vectors indexed": report.indexed,
        "probes that found themselves": f"{sum(p.right for p in probes)} of {len(probes)}",
        "seconds": round(report.seconds, 3),
        **report.details,
        **_merge(outcome.merge),
        "probes": dg.MetadataValue.md(_probes(probes)),
    }


def _merge(merge: MergeReport | None) -> dict[str, Any]:
    if merge is None:
        return {}
    return {
        "merged": f"{merge.vectors:,} vectors" if merge.published else f"no: {merge.why}",
        "merge seconds": round(merge.seconds, 3),
    }


def _records(entries: Sequence[Quarantined]) -> list[dg.TableRecord]:
    rows = [
        {"id": "" if entry.id is None else shown(entry.id), "where": entry.where,
         "reason": entry.reason, "text": entry.excerpt, "times seen": entry.count,
         "first seen": f"{entry.first_seen:%Y-%m-%d %H:%M}",
         "last seen": f"{entry.last_seen:%Y-%m-%d %H:%M}"}
        for entry in entries
    ]  # fmt: skip
    return [dg.TableRecord(row) for row in rows]


def _chunks(chunks: list[Chunk]) -> str:
    lines = ["| id | text | fields |", "| --- | --- | --- |"]
    for chunk in chunks:
        fields = ", ".join(_shown(value) for value in chunk.fields.values())
        lines.append(f"| {cell(chunk.id)} | {cell(chunk.text, 60)} | {cell(fields, 60)} |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)


def _column_schema(space: EmbeddingSpace) -> dg.TableSchema:
    columns = [
        ("chunk_id", "string", "first chunk with this text, as JSON"),
        ("text_hash", "string", "SHA-256 of the text"),
        ("vector", f"fixed_size_list<{_ARROW[space.element]}>[{space.width}]", "the embedding"),
        ("tokens", "int32", "as the provider counts, before truncation"),
        ("model", "string", "which model embedded it"),
        ("batch", "string", "the batch it was first written in"),
        ("run", "string", "the Dagster run that embedded it"),
        ("at", "timestamp[ms]", "when"),
        ("cut", "bool", "whether the model saw only the beginning of the text, or may have"),
    ]
    return dg.TableSchema(
        [dg.TableColumn(name, kind, description=text) for name, kind, text in columns]
    )


_ARROW = {"float32": "float", "int8": "int8", "packed_bit": "uint8"}


def _vectors(outcome: Embedded) -> str:
    lines = ["| id | text | tokens | vector |", "| --- | --- | ---: | --- |"]
    for chunk, vector, tokens in outcome.preview:
        shown = "+.2f" if vector.dtype == np.float32 else ""
        start = ", ".join(format(value, shown) for value in vector[:2])
        count = "" if tokens < 0 else tokens
        lines.append(f"| {cell(chunk.id)} | {cell(chunk.text, 60)} | {count} | {start}, … |")
    return "\n".join(lines)


def _formats(found: Sequence[FormatQuality], mine: str, total: int) -> dict[str, Any]:
    """Bytes and quality of what is chosen and what could be."""
    if not found:
        return {}
    lines = [
        "| stored as | bytes per vector | in the index | recall@10 |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in found:
        name = f"**{row.format}**" if row.format == mine else row.format
        lines.append(f"| {name} | {row.bytes:,} | {row.indexed_bytes:,} | {row.recall:.3f} |")
    sizes = {row.format: row.bytes for row in found}
    chosen = {}
    if mine in sizes:
        chosen = {"bytes per vector": sizes[mine], "vector bytes": sizes[mine] * total}
    return {**chosen, "formats, measured on a sample": dg.MetadataValue.md("\n".join(lines))}


def _spaces(spaces: Sequence[tuple[EmbeddingSpace | None, str, int]]) -> str:
    """Counted by an index; `embeddings lineage` reads every document, and knows days and models."""
    lines = ["| model | space | vectors |", "| --- | --- | ---: |"]
    for space, name, vectors in spaces:
        lines.append(f"| {cell(space.model if space else '?')} | {cell(name)} | {vectors:,} |")
    return "\n".join(lines)


def _probes(probes: Sequence[Probe]) -> str:
    lines = ["| searched for | found first | score |", "| --- | --- | ---: |"]
    lines += [f"| {cell(p.id)} | {cell(p.found)} | {p.score:.4f} |" for p in probes]
    return "\n".join(lines)


def cell(value: object, width: int = 100) -> str:
    """A value as one short cell of a Markdown table."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= width else text[: width - 1] + "…"
