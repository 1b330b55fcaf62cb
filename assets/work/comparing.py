"""Read the source and compare it with what is stored: what is to be embedded, stored, deleted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from pymongo import MongoClient

from assets.work.planning import Counts, Part, Planner
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, excess
from resources.core.errors import ConfigurationError
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.embedders.packing import estimate_tokens
from resources.embedders.resource import EmbedderResource
from resources.registry.neighbours import neighbours
from resources.registry.registry import Registry
from resources.sources.records import EXCERPT_LENGTH, RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource
from resources.vector_store.store import StoredState, VectorStore

PREVIEW_ROWS = 4


@dataclass
class Comparison:
    """What reading the source brought to light.

    Attributes:
        counts: In chunks, as the planner found them.
        scope: What the provider's refusals hold for.
        whole: The source was read to its end, so what was not met is gone.
    """

    counts: Counts
    preview: list[Chunk]
    scope: str
    whole: bool = False
    documents: int = 0
    rejected: int = 0
    characters: int = 0
    seconds: float = 0.0
    rate: float = 0.0


def compare(
    source: SourceResource,
    *,
    client: MongoClient,
    store: VectorStore,
    registry: Registry,
    batches: BatchStore,
    embedder: EmbedderResource,
    space: EmbeddingSpace,
    max_delete_fraction: float,
    reject: Callable[[Sequence[RejectedRecord]], None],
    hold: Callable[[str, Sequence[Chunk]], object],
    emit: Callable[[Part], None],
    why_not: Callable[[Chunk, StoredState], str] | None = None,
    log: Callable[[str], None],
) -> Comparison:
    """Read the whole source once, and find out what is to be embedded, stored and deleted.

    Writes nothing itself.

    Args:
        source: What to read.
        client: For a source in MongoDB.
        store: The vectors that are there.
        registry: The texts that were refused before.
        batches: The vectors that were embedded before.
        embedder: The size of a batch, and what its refusals hold for.
        space: That every vector shall be in.
        max_delete_fraction: Share of the stored chunks that may be deleted.
        reject: Takes records that cannot be embedded.
        hold: Takes a scope and the chunks that stay in quarantine, because of their text.
        emit: Takes the parts of the plan, in order.
        why_not: Says why a chunk cannot be stored; by default what is unexplained stops it all.
        log: Takes lines of progress.
    """
    progress = Progress(log, "records read")
    with embedder.open() as provider:
        scope = provider.refusal_scope
    rejected: list[RejectedRecord] = []
    hidden: list[str] = []

    def flush() -> None:
        found.rejected += len(rejected)
        reject(rejected)
        rejected.clear()

    def chunks() -> Iterator[Chunk]:
        for record in source.read(client):
            progress.advance(1)
            if isinstance(record, SourceDocument):
                for chunk in source.chunking.chunks(record):
                    if size := excess(chunk):
                        rejected.append(_too_large(source, chunk, size))
                        continue
                    found.characters += len(chunk.text)
                    if len(found.preview) < PREVIEW_ROWS:
                        found.preview.append(chunk)
                    yield chunk
                found.documents += 1
            else:
                hidden.extend([record.where] if record.hides else [])
                rejected.append(record)
                if len(rejected) >= 1_000:
                    flush()

    with Planner(
        space.id,
        store.stored,
        format=str(store.format),
        chunker=source.chunking.describe(),
        why_not=why_not or partial(_why_not, store),
        cut_is_fine=embedder.truncates,
    ) as planner:
        found = Comparison(planner.counts, [], scope)
        for apart in planner.add(chunks()):
            rejected += [set_aside(chunk, source.describe(), reason) for chunk, reason in apart]
            flush()
        flush()
        # A limit that cut the source off: what was not looked at has not vanished. Nor has what may
        # be in lines that could not be told apart.
        found.whole = not hidden and (source.limit is None or progress.done < source.limit)
        if hidden:
            log(
                f"nothing counts as vanished, since {hidden[0]} may hold records of the source "
                "that cannot be read: see the quarantine"
            )
        if found.whole:
            planner.vanished(
                store.ids,
                store.count(),
                max_fraction=max_delete_fraction,
            )
        planner.resolve(
            neighbours(store, client, registry, space, cut=embedder.truncates).known_texts,
            batches.texts_by_batch(space.id, cut=embedder.truncates),
            lambda _, hashes: registry.quarantine.refused_texts(scope, hashes),
            whole=partial(batches.has_batch, space.id),
        )
        for held in planner.held():
            hold(scope, held)
        for part in planner.parts(
            max_chunks=embedder.max_batch_chunks,
            max_tokens=embedder.max_batch_tokens,
            tokens=estimate_tokens,
        ):
            emit(part)
    progress.finish()
    found.seconds, found.rate = progress.seconds, progress.rate
    return found


def _too_large(source: SourceResource, chunk: Chunk, size: int) -> RejectedRecord:
    reason = (
        f"its text and fields are {size / 1e6:.1f} MB, more than a MongoDB document holds: cut it "
        "with `chunking`, or carry less"
    )
    return set_aside(chunk, source.describe(), reason)


def _why_not(store: VectorStore, chunk: Chunk, state: StoredState) -> str:
    """Why a chunk cannot be stored; something unexplained at our path stops the run instead."""
    reason = store.why_not(chunk, state)
    if reason and state.foreign:
        raise ConfigurationError(f"{store.collection.full_name}, _id {chunk.id!r}: {reason}")
    return reason


def set_aside(chunk: Chunk, where: str, reason: str) -> RejectedRecord:
    """A chunk as a record for the quarantine."""
    return RejectedRecord(chunk.id, where, reason, chunk.text[:EXCERPT_LENGTH])
