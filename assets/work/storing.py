"""Carry out a plan on the store: write the vectors, and only then remove what vanished."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from assets.work.plan import Plan, PlannedPart, read_chunks, read_texts
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, size_of
from resources.core.lineage import lineage_path, rescore_path
from resources.core.progress import Progress
from resources.core.vectors import int8_scale
from resources.core.windows import sized_windows
from resources.mongodb.lease import Lease
from resources.registry.registry import Registry
from resources.vector_store.store import VectorStore
from resources.vector_store.writer import Row, VectorWriter

WRITERS = 2
"""Bulk writes in flight: one is encoded while the server works on another."""

WRITE_ROWS = 1_000

SCALE_BATCHES = 20
"""Batches, evenly spread over the plan, in which the largest value of a space is looked for."""

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
    if store.format.unscaled and plan.of_kind("copy", "embed", "reuse"):

        def measure() -> float:
            parts = plan.of_kind("copy", "embed", "reuse")
            step = max(1, len(parts) // SCALE_BATCHES)
            names = dict.fromkeys(part.batch for part in parts[::step])
            found = [batches.read_batch(plan.space.id, name).vectors for name in names]
            return int8_scale(np.concatenate(found) if found else np.empty(0, np.float32))

        store.fix_scale(registry.int8_scale(plan.space.id, measure))
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
