"""The asset `source_documents`: read the source, compare with the store, write the plan."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import dagster as dg
from pymongo import MongoClient

from assets.exclusive import exclusive
from assets.failures import explained
from assets.work.heap import settled_heap
from assets.work.plan import PlanWriter
from assets.work.planning import Counts, Part, Planner
from assets.work.preflight import check_deployment, check_settings
from resources.batch_store.resource import BatchStoreResource
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, excess
from resources.core.errors import ConfigurationError
from resources.core.keys import shown
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.embedders.packing import estimate_tokens
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.neighbours import neighbours
from resources.registry.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.records import EXCERPT_LENGTH, RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import StoredState, VectorStore

PREVIEW_ROWS = 4
QUARANTINE_ROWS = 20


@dataclass
class Comparison:
    """What reading the source brought to light.

    Attributes:
        counts: In chunks, as the planner found them.
        whole: The source was read to its end, so what was not met is gone.
    """

    counts: Counts
    preview: list[Chunk]
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
        found = Comparison(planner.counts, [])
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


def build_source_documents(pipeline: str, kinds: set[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version="1",
    )
    def source_documents(
        context: dg.AssetExecutionContext,
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        search_index: SearchIndexResource,
        batch_store: BatchStoreResource,
    ) -> dg.MaterializeResult:
        """The texts to make searchable, compared with what is stored: the plan of the run."""
        with explained(), settled_heap():
            space = embedder.space()
            check_settings(source, vector_store, search_index, space)
            with mongodb.connect() as client, exclusive(context, client, mongodb) as lease:
                registry, wanted = Registry(client, mongodb.registry), space
                space = registry.settled_space(wanted, vector_store.key(source))
                store = vector_store.open(client, source, space, pipeline)
                check_deployment(
                    client,
                    source=source,
                    store=store,
                    search_index=search_index,
                    registry=registry,
                    space=space,
                )
                registry.prepare()
                registry.settle_space(space, wanted, store.key)
                registry.record_space(space)
                store.prepare()
                run, batches = context.run_id, batch_store.open()
                writer = PlanWriter(batches, pipeline=pipeline, run=run, space=space)
                found = compare(
                    source,
                    client=client,
                    store=store,
                    registry=registry,
                    batches=batches,
                    embedder=embedder,
                    space=space,
                    max_delete_fraction=vector_store.deletable,
                    reject=partial(registry.quarantine.add, pipeline, run),
                    hold=lambda scope, chunks: registry.quarantine.hold(
                        pipeline, run, chunks, scope
                    ),
                    emit=writer.add,
                    log=context.log.info,
                )
                lease.check()
                plan = writer.finish(dataclasses.asdict(found.counts))
                healed = registry.quarantine.release_healed(pipeline, run) if found.whole else 0
                quarantined = registry.quarantine.entries(pipeline, limit=QUARANTINE_ROWS)
        counts = plan.counts
        for space_id, vectors in counts["replaced_spaces"].items():
            context.log.warning(
                f"{vectors:,} vectors of the space {space_id} will be replaced by {space.id}"
            )
        if not plan.parts:
            context.log.info("nothing to do: every chunk has its vector")
        metadata = {
            "dagster/row_count": counts["source"],
            "source": source.describe(),
            "documents": found.documents,
            "chunked": source.chunking.describe() or "no",
            "space": space.id,
            "new": counts["new"],
            "changed": counts["changed"],
            "of a text that was cut": counts["cut"],
            "unchanged": counts["unchanged"],
            "to store in another format": counts["reformatted"],
            "cut the same by another chunker": counts["rechunked"],
            "fields changed": counts["refreshed"],
            "deleted": counts["deleted"],
            "outdated": counts["outdated"],
            "to embed": counts["to_embed"],
            "vectors reused": counts["reused"],
            "set aside": counts["set_aside"],
            "rejected now": found.rejected,
            "refused before": counts["held"],
            "left quarantine": healed,
            "characters": found.characters,
            "seconds": round(found.seconds, 3),
            "records per second": round(found.rate, 1),
            "plan": plan.id,
            "preview": dg.MetadataValue.md(_preview(found.preview)),
        }
        if counts["replaced_spaces"]:
            metadata["replaces spaces"] = dg.MetadataValue.json(counts["replaced_spaces"])
        if quarantined:
            rows = [
                {"id": "" if entry.id is None else shown(entry.id), "where": entry.where,
                 "reason": entry.reason, "text": entry.excerpt, "times seen": entry.count,
                 "first seen": f"{entry.first_seen:%Y-%m-%d %H:%M}",
                 "last seen": f"{entry.last_seen:%Y-%m-%d %H:%M}"}
                for entry in quarantined
            ]  # fmt: skip
            metadata["quarantine"] = dg.MetadataValue.table([dg.TableRecord(row) for row in rows])
        return dg.MaterializeResult(metadata=metadata)

    return source_documents


def _preview(chunks: list[Chunk]) -> str:
    lines = ["| id | text | fields |", "| --- | --- | --- |"]
    for chunk in chunks:
        fields = ", ".join(_shown(value) for value in chunk.fields.values())
        lines.append(f"| {cell(chunk.id)} | {cell(chunk.text, 60)} | {cell(fields, 60)} |")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return " + ".join(map(str, value)) if isinstance(value, list) else str(value)


def cell(value: object, width: int = 100) -> str:
    """A value as one short cell of a Markdown table."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= width else text[: width - 1] + "…"
