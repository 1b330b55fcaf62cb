"""The asset `stored_vectors`: write the vectors to MongoDB, and only then remove what vanished."""

import secrets
from functools import partial
from typing import Any

import dagster as dg

from assets.exclusive import exclusive
from assets.failures import explained
from assets.report import cell
from assets.work.comparing import set_aside
from assets.work.heap import settled_heap
from assets.work.plan import Plan, read_plan
from assets.work.retention import remove_old_batches
from assets.work.storing import open_writer, store_plan
from resources.batch_store.resource import BatchStoreResource
from resources.batch_store.store import BatchStore
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Similarity, int8_scale
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.format_quality import FormatQuality, measure
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore

SAMPLE, QUERIES, SMALLEST_SAMPLE = 2_000, 100, 50
"""Vectors on which the formats are compared: recall of fewer would say little."""


def build_stored_vectors(pipeline: str) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        code_version="1",
        deps=[dg.AssetKey([pipeline, "embedding_batches"])],
    )
    def stored_vectors(
        context: dg.AssetExecutionContext,
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        search_index: SearchIndexResource,
        batch_store: BatchStoreResource,
    ) -> dg.MaterializeResult:
        """Vectors in MongoDB, each with its lineage: model, text, batch, run and time."""
        with explained(), settled_heap():
            batches = batch_store.open()
            with mongodb.connect() as client, exclusive(context, client, mongodb) as lease:
                plan = read_plan(batches, pipeline, embedder.space())
                registry = Registry(client, mongodb.registry)
                store = vector_store.open(
                    client, source, plan.space, pipeline, scale_of=registry.int8_scale
                )
                writer = open_writer(
                    plan, batches=batches, store=store, registry=registry, lease=lease
                )
                if plan.parts:
                    registry.note_store_changes(store.key, lease)
                written = store_plan(
                    plan,
                    batches=batches,
                    writer=writer,
                    hold=partial(registry.quarantine.hold, pipeline, context.run_id),
                    cut_is_fine=embedder.truncates,
                    log=context.log.info,
                )
                where = store.collection.full_name
                aside = [set_aside(chunk, where, reason) for chunk, reason in writer.aside]
                registry.quarantine.add(pipeline, context.run_id, aside, stage="store")
                registry.quarantine.release_stored(pipeline, context.run_id)
                if written.changes:
                    registry.record_store(
                        store.key,
                        pipeline=pipeline,
                        space=plan.space.id,
                        stored_as=str(store.format),
                        revision=secrets.token_hex(8),
                        lease=lease,
                    )
                removed = 0
                if written.changes and batch_store.keep_days:
                    removed = remove_old_batches(
                        batch_store.keep_days, batches=batches, client=client, registry=registry
                    )
                total = store.count()
                spaces = [
                    (registry.space(name), name, store.count_space(name)) for name in store.spaces()
                ]
        if not written.changes:
            context.log.info("nothing to write: the stored vectors are up to date")
        formats = _formats(plan, batches, store, search_index.similarity)
        metadata = {
            "dagster/row_count": total,
            "dagster/uri": f"{mongodb.describe()}, {store.key}",
            "vectors written": written.vectors,
            "fields refreshed": written.refreshed,
            "deleted": written.deleted,
            "set aside by MongoDB, or somebody else's": len(writer.aside),
            "withdrawn (no vector of their text)": written.withdrawn,
            "left out (quarantined, or gone)": written.missing,
            "vectors stored": total,
            **({"old batches removed": removed} if batch_store.keep_days else {}),
            "stored as": str(store.format),
            "lineage at": store.lineage_path,
            **({"values clipped to int8": writer.clipped} if store.format.needs_scale else {}),
            "seconds": round(written.seconds, 3),
            "vectors per second": round(written.vectors / max(written.seconds, 1e-9), 1),
            "vectors by space": dg.MetadataValue.md(_spaces(spaces)),
            **_format_metadata(formats, str(store.format), total),
        }
        return dg.MaterializeResult(metadata=metadata)

    return stored_vectors


def _formats(
    plan: Plan, batches: BatchStore, store: VectorStore, similarity: Similarity
) -> list[FormatQuality]:
    """The ways of storing this corpus, measured on a sample of it; none for coarse spaces."""
    if plan.space.element != "float32":
        return []
    sample = batches.sample(plan.space, SAMPLE)
    if len(sample) < SMALLEST_SAMPLE:
        return []
    by: Similarity = similarity
    if similarity == "euclidean" and plan.space.normalized:
        by = "dotProduct"  # the same order, also for formats that euclidean would not be used with
    return measure(sample, QUERIES, by, store.format.scale or int8_scale(sample))


def _format_metadata(found: list[FormatQuality], mine: str, total: int) -> dict[str, Any]:
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


def _spaces(spaces: list[tuple[EmbeddingSpace | None, str, int]]) -> str:
    """Counted by an index; `embeddings lineage` reads every document, and knows days and models."""
    lines = ["| model | space | vectors |", "| --- | --- | ---: |"]
    for space, name, vectors in spaces:
        lines.append(f"| {cell(space.model if space else '?')} | {cell(name)} | {vectors:,} |")
    return "\n".join(lines)
