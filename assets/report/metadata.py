"""What assets came to, as metadata of their materializations.

What can be counted is a number, so that Dagster plots it over time; what is text of documents is in
tables, and the words of the labels are those of design and documentation.
"""

from typing import Any

import dagster as dg

from assets.report import tables
from assets.sharding import WORK
from assets.work.budget import Estimate
from assets.work.comparing import Planned
from assets.work.embedded import Embedded
from assets.work.proving import Indexed
from assets.work.storing import Stored
from resources.search_index.engine import MergeReport


def planned(outcome: Planned) -> dict[str, Any]:
    plan, found = outcome.plan, outcome.found
    counts = found.counts
    metadata = {
        "dagster/row_count": counts.source,
        "source": outcome.source,
        "source documents": found.documents,
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
        "vectors to cut from wider ones": counts.narrowed,
        "set aside": counts.set_aside,
        "rejected now": found.rejected,
        "refused before": counts.held,
        "left quarantine": outcome.healed,
        "characters": found.characters,
        "seconds": round(found.seconds, 3),
        "records per second": round(found.rate, 1),
        "plan": plan.id,
    }
    if outcome.work:
        metadata[WORK] = dg.MetadataValue.json(dict(outcome.work))
    if (ids := plan.ids) is not None:
        del metadata["dagster/row_count"]  # of the source, which was not read
        metadata["records compared alone"] = len(ids)
        metadata["chunks compared"] = counts.source
    if found.preview:
        metadata["preview"] = tables.chunks(found.preview)
    if counts.replaced_spaces:
        metadata["replaces spaces"] = dg.MetadataValue.json(dict(counts.replaced_spaces))
    if outcome.quarantined:
        metadata["quarantine"] = tables.quarantine(outcome.quarantined)
        metadata["all of the quarantine"] = f"embeddings quarantine list {plan.pipeline}"
    return metadata


def embedded(outcome: Embedded) -> dict[str, Any]:
    space = outcome.space
    metadata = {
        "dagster/row_count": outcome.chunks,
        "provider": space.provider,
        "model": outcome.model,
        "space": space.id,
        "dimensions": space.dimensions,
        "embedding batches written": outcome.batches,
        "embedded": outcome.embedded,
        "vectors copied": outcome.copied,
        "vectors cut from wider ones": outcome.narrowed,
        "already embedded": outcome.already_there,
        "refused by the provider": outcome.refused,
        "longer than the model reads": outcome.truncated,
        "plan": outcome.plan,
        **_estimate(outcome.estimate),
        **({"tokens": outcome.tokens} if outcome.tokens is not None else {}),
        **({"cost (USD)": outcome.cost_usd} if outcome.cost_usd is not None else {}),
        "requests": outcome.requests,
        "retries": outcome.retries,
        "seconds throttled": round(outcome.throttled_seconds, 3),
        "bytes written": outcome.bytes,
        "seconds": round(outcome.seconds, 3),
        "texts per second": round(outcome.embedded / max(outcome.seconds, 1e-9), 1),
        "space in full": dg.MetadataValue.json(space.to_document()),
    }
    if outcome.of_some:
        del metadata["dagster/row_count"]
    if outcome.preview:
        metadata["preview"] = tables.vectors(outcome.preview)
    return metadata


def _estimate(before: Estimate | None) -> dict[str, Any]:
    if before is None:
        return {}
    cost = {} if before.cost_usd is None else {"estimated cost (USD)": before.cost_usd}
    return {"estimated tokens": before.tokens, **cost}


def stored(outcome: Stored) -> dict[str, Any]:
    written = outcome.written
    rows = outcome.total if outcome.of_shard is None else outcome.of_shard
    known = outcome.of_shard is None or not outcome.of_some
    return {
        **({"dagster/row_count": rows} if known else {}),
        "vector store": outcome.where,
        "vectors written": written.vectors,
        "fields refreshed": written.refreshed,
        "deleted": written.deleted,
        "set aside by MongoDB, or somebody else's": outcome.aside,
        "withdrawn (no vector of their text)": written.withdrawn,
        "left out (quarantined, or gone)": written.missing,
        "vectors stored": outcome.total,
        "in quarantine": sum(outcome.quarantined.values()),
        **({} if outcome.removed is None else {"old embedding batches removed": outcome.removed}),
        "plan": outcome.plan,
        "stored as": outcome.stored_as,
        "lineage at": outcome.lineage_path,
        **({} if outcome.clipped is None else {"values clipped to int8": outcome.clipped}),
        "seconds": round(written.seconds, 3),
        "vectors per second": round(written.vectors / max(written.seconds, 1e-9), 1),
        **({"vectors by space": tables.spaces(outcome.spaces)} if outcome.spaces else {}),
        **_formats(outcome),
    }


def _formats(outcome: Stored) -> dict[str, Any]:
    """Bytes and quality of what is chosen and what could be."""
    if not outcome.formats:
        return {}
    mine = outcome.values_as
    sizes = {row.format: row.bytes for row in outcome.formats}
    chosen = {}
    if mine in sizes:
        size = sizes[mine]
        chosen = {"bytes per vector": size, "vector bytes": size * outcome.total}
    return {**chosen, "formats, measured on a sample": tables.formats(outcome.formats, mine)}


def indexed(outcome: Indexed) -> dict[str, Any]:
    report, probes = outcome.report, outcome.probes
    return {
        "dagster/row_count": report.indexed,
        "engine": report.engine,
        "space": outcome.space.id,
        "similarity": outcome.similarity,
        "filter fields": ", ".join(outcome.filter_fields) or "none",
        "rebuilt": report.changed,
        "vectors stored": report.stored,
        "vectors indexed": report.indexed,
        "probes": len(probes),
        "probes found": sum(p.right for p in probes),
        "seconds": round(report.seconds, 3),
        **report.details,
        **_merge(outcome.merge),
        **({"searched for": tables.probes(probes)} if probes else {}),
    }


def _merge(merge: MergeReport | None) -> dict[str, Any]:
    if merge is None:
        return {}
    return {
        "vectors merged": merge.vectors if merge.published else 0,
        **({} if merge.published else {"not merged because": merge.why}),
        "merge seconds": round(merge.seconds, 3),
    }
