"""The asset `stored_vectors`: write the vectors to MongoDB, and only then remove what vanished."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import dagster as dg
import numpy as np

from assets.exclusive import exclusive
from assets.failures import explained
from assets.source_documents import cell, set_aside
from assets.work.heap import settled_heap
from assets.work.plan import Plan, PlannedPart, read_chunks, read_plan, read_texts
from assets.work.retention import remove_old_batches
from resources.batch_store.resource import BatchStoreResource
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, size_of
from resources.core.lineage import lineage_path, rescore_path
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Similarity, int8_scale
from resources.core.windows import sized_windows
from resources.embedders.resource import EmbedderResource
from resources.mongodb.lease import Lease
from resources.mongodb.resource import MongoDBResource
from resources.registry.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.format_quality import FormatQuality, measure
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore
from resources.vector_store.writer import Row, VectorWriter

WRITERS = 2
"""Bulk writes in flight: one is encoded while the server works on another."""

WRITE_ROWS = 1_000

SCALE_BATCHES = 20
"""Batches, evenly spread over the plan, in which the largest value of a space is looked for."""

SAMPLE, QUERIES, SMALLEST_SAMPLE = 2_000, 100, 50
"""Vectors on which the formats are compared: recall of fewer would say little."""

T = TypeVar("T")


@dataclass
class Written:
    vectors: int = 0
    refreshed: int = 0
    withdrawn: int = 0
    deleted: int = 0
    missing: int = 0
    seconds: float = 0.0

    @property
    def changes(self) -> int:
        return self.vectors + self.refreshed + self.withdrawn + self.deleted


def open_writer(
    plan: Plan, *, batches: BatchStore, store: VectorStore, registry: Registry, lease: Lease
) -> VectorWriter:
    """A writer in the store's format: with the space's int8 scale, which the first run fixes."""
    if store.format.needs_scale:

        def measure() -> float:
            parts = plan.of_kind("copy", "embed", "reuse")
            step = max(1, len(parts) // SCALE_BATCHES)
            names = dict.fromkeys(part.batch for part in parts[::step])
            found = [batches.read_batch(plan.space.id, name).vectors for name in names]
            return int8_scale(np.concatenate(found) if found else np.empty(0, np.float32))

        if plan.of_kind("copy", "embed", "reuse"):
            store.use_scale(registry.int8_scale(plan.space.id, measure))
    before = registry.stored_as(store.key)
    drops = bool(before and "rescored" in before and not store.format.rescore)
    claim = registry.claim_store(store.key, store.pipeline, store.carried)
    carried = claim.carried.get(store.pipeline, ())
    writer = VectorWriter(store, lease, drops_rescore=drops, carried_before=carried)
    if store.pipeline not in claim.marked:
        others = registry.paths(store.collection.full_name)
        writer.mark(
            [at for path in others for at in (path, lineage_path(path), rescore_path(path))]
        )
        registry.note_marked(store.key, store.pipeline)
    return writer


def store_plan(
    plan: Plan,
    *,
    batches: BatchStore,
    writer: VectorWriter,
    hold: Callable[[Sequence[Chunk]], set[str]],
    cut_is_fine: bool,
    log: Callable[[str], None],
) -> Written:
    """Carry out the plan on the store; doing it twice changes nothing the second time.

    Args:
        plan: What to do.
        batches: Where the vectors lie.
        writer: Writes them.
        hold: Takes chunks whose text was refused; tells which texts, by hash, are so for good.
        cut_is_fine: A vector of only the beginning of a text will do.
        log: Takes lines of progress.
    """
    written = Written()
    progress = Progress(log, "vectors written", plan.chunks("copy", "embed", "reuse"))

    def withdraw(chunks: Sequence[Chunk]) -> int:
        final = hold(chunks)
        return writer.withdraw([(c, c.text_hash in final) for c in chunks], plan.space.id)

    def put(part: PlannedPart) -> tuple[int, int, int]:
        rows, missing = _rows(plan, part, batches, cut_is_fine=cut_is_fine)
        stored = sum(map(writer.write, sized_windows(rows, WRITE_ROWS, _row_size)))
        gone = withdraw(missing) if missing else 0
        return stored, len(missing) + len(rows) - stored, gone

    with ThreadPoolExecutor(WRITERS, thread_name_prefix="vector-writer") as pool:
        parts = iter(plan.of_kind("copy", "embed", "reuse"))
        for rows, missing, gone in _bounded(pool, put, parts, WRITERS):
            written.vectors += rows
            written.missing += missing
            written.withdrawn += gone
            progress.advance(rows + missing)
    for part in plan.of_kind("refresh"):
        written.refreshed += writer.refresh(read_chunks(batches, plan, part))
    for part in plan.of_kind("withdraw"):
        written.withdrawn += withdraw(read_texts(batches, plan, part))
    # New vectors are there before old ones go.
    for part in plan.of_kind("delete"):
        chunks = read_texts(batches, plan, part)
        written.deleted += writer.delete([chunk.id for chunk in chunks])
    written.seconds = progress.seconds
    progress.finish()
    return written


def _row_size(row: Row) -> int:
    chunk, vector, _ = row
    return size_of(chunk) + vector.nbytes


def _rows(
    plan: Plan, part: PlannedPart, batches: BatchStore, *, cut_is_fine: bool
) -> tuple[list[Row], list[Chunk]]:
    """The part's chunks with their vectors, and those that the provider refused."""
    chunks = read_chunks(batches, plan, part)
    batch = batches.read_batch(plan.space.id, part.batch)
    row_of = batch.rows_by_text(cut=cut_is_fine)
    found = [(chunk, row_of[chunk.text_hash]) for chunk in chunks if chunk.text_hash in row_of]
    rows = [(chunk, batch.vectors[row], batch.lineage[row]) for chunk, row in found]
    return rows, [chunk for chunk in chunks if chunk.text_hash not in row_of]


def _bounded(
    pool: ThreadPoolExecutor,
    work: Callable[[PlannedPart], T],
    parts: Iterator[PlannedPart],
    ahead: int,
) -> Iterator[T]:
    """Results of `work`, with no more than `ahead` parts in memory at once."""
    running: set[Future[T]] = set()
    for part in parts:
        running.add(pool.submit(work, part))
        if len(running) >= ahead:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    yield from (future.result() for future in running)


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
                store = vector_store.open(client, source, plan.space, pipeline)
                registry = Registry(client, mongodb.registry)
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
