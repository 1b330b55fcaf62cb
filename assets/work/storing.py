"""Carry out a plan on the store: write the vectors, and only then remove what vanished."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from assets.work.changed import documents
from assets.work.comparing import set_aside
from assets.work.opened import Opened
from assets.work.plan import Plan, PlannedPart, read_chunks, read_texts
from assets.work.planning import STORED
from assets.work.retention import remove_old_batches
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, size_of
from resources.core.lineage import lineage_path, rescore_path
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Similarity, int8_scale
from resources.core.windows import sized_windows
from resources.vector_store.format_quality import FormatQuality, measure
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


@dataclass(frozen=True)
class Stored:
    """What the asset `stored_vectors` comes to.

    Attributes:
        values_as: The same without how documents are laid out around the vectors.
        aside: Chunks that MongoDB refused, or whose place is somebody else's.
        clipped: Values cut off at the ends of int8; None where nothing is stored as int8.
        removed: Old batches that nothing needs any more; None where all are kept.
        total: Vectors in the store now.
        of_shard: Chunks of this shard that have their vector there; None without shards; `of_some`
            records alone, where only those were compared.
        spaces: What they are: space (None if the registry has lost it), its id, vectors.
        formats: What this corpus would be in other formats, on a sample of it.
        quarantined: How many entries the quarantine is left with, by their reason.
    """

    plan: str
    written: Written
    where: str
    lineage_path: str
    stored_as: str
    values_as: str
    aside: int
    clipped: int | None
    removed: int | None
    total: int
    spaces: Sequence[tuple[EmbeddingSpace | None, str, int]]
    formats: Sequence[FormatQuality]
    quarantined: Mapping[str, int]
    of_shard: int | None = None
    of_some: bool = False


def store(o: Opened) -> Stored:
    """Write what the plan asks for, remove what vanished, and note that the store has changed.

    Raises:
        BatchStoreError: There is no plan, or a batch of it is gone or damaged.
        LeaseError: Another run took the pipeline over.
    """
    plan, batches, registry, vectors = o.plan, o.batches, o.registry, o.store
    writer = open_writer(o)
    if plan.parts:
        registry.stores.note_changes(vectors.key, o.lease)
    written = store_plan(
        plan,
        batches=batches,
        writer=writer,
        hold=partial(registry.quarantine.hold, o.lane, o.run),
        cut_is_fine=o.embedder.truncates,
        log=o.log,
    )
    place = vectors.collection.full_name
    sharded = o.shard is not None
    aside = [set_aside(chunk, place, why, sharded=sharded) for chunk, why in writer.aside]
    registry.quarantine.add(o.lane, o.run, aside, stage="store")
    registry.quarantine.release_stored(o.lane, o.run, o.shards, of=documents(o, plan))
    if written.changes:
        registry.stores.record(
            vectors.key, o.lease, space_id=plan.space.id, stored_as=str(vectors.format)
        )
    else:
        o.log("nothing to write: the stored vectors are up to date")
    keep_days, removed = o.batch_store.keep_days, None
    if keep_days:
        removed = 0
        if written.changes:
            removed = remove_old_batches(
                keep_days, batches=batches, client=o.client, registry=registry
            )
    registry.plans.note_done(o.lease, o.lane, "stored", plan.id)
    return Stored(
        plan=plan.id,
        written=written,
        where=f"{o.mongodb.describe()}, {vectors.key}",
        lineage_path=vectors.lineage_path,
        stored_as=str(vectors.format),
        values_as=vectors.format.values,
        aside=len(aside),
        clipped=writer.clipped if vectors.format.needs_scale else None,
        removed=removed,
        total=vectors.count(),
        spaces=[
            (registry.spaces.get(name), name, vectors.count_space(name))
            for name in vectors.spaces()
        ],
        formats=_formats(plan, batches, vectors, o.search_index.similarity),
        quarantined=registry.quarantine.reasons(o.lane),
        of_shard=_of_shard(plan, written, len(aside)) if sharded else None,
        of_some=plan.ids is not None,
    )


def _of_shard(plan: Plan, written: Written, aside: int) -> int:
    # Those set aside are among the missing; what is withdrawn later is held.
    counts = plan.counts
    return counts["source"] - counts["held"] - max(written.missing, aside)


def open_writer(o: Opened) -> VectorWriter:
    """A writer in the store's format: with the space's int8 scale, which the first run fixes."""
    plan, batches, registry, store = o.plan, o.batches, o.registry, o.store
    if store.format.unscaled and plan.of_kind(*STORED):

        def measure() -> float:
            parts = plan.of_kind(*STORED)
            step = max(1, len(parts) // SCALE_BATCHES)
            names = dict.fromkeys(part.batch for part in parts[::step])
            found = [batches.read_batch(plan.space.id, name).vectors for name in names]
            return int8_scale(np.concatenate(found) if found else np.empty(0, np.float32))

        store.fix_scale(registry.spaces.int8_scale(plan.space.id, measure))
    before = registry.stores.get(store.key)
    stored_as = before.stored_as if before else None
    drops = bool(stored_as and "rescored" in stored_as and not store.format.rescore)
    claim = registry.stores.add_claim(store.key, store.pipeline, store.owned)
    carried = claim.carried.get(store.pipeline, ())
    writer = VectorWriter(store, o.lease, drops_rescore=drops, carried_before=carried)
    if store.pipeline not in claim.marked:
        others = registry.stores.paths(store.collection.full_name)
        writer.mark(
            [at for path in others for at in (path, lineage_path(path), rescore_path(path))]
        )
        registry.stores.note_marked(store.key, store.pipeline)
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
    progress = Progress(log, "vectors written", plan.chunks(*STORED))

    def withdraw(chunks: Sequence[Chunk]) -> int:
        final = hold(chunks)
        return writer.withdraw([(c, c.text_hash in final) for c in chunks], plan.space.id)

    def put(part: PlannedPart) -> tuple[int, int, int]:
        rows, missing = _rows(plan, part, batches, cut_is_fine=cut_is_fine)
        stored = sum(map(writer.write, sized_windows(rows, WRITE_ROWS, _row_size)))
        gone = withdraw(missing) if missing else 0
        return stored, len(missing) + len(rows) - stored, gone

    with ThreadPoolExecutor(WRITERS, thread_name_prefix="vector-writer") as pool:
        parts = iter(plan.of_kind(*STORED))
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
