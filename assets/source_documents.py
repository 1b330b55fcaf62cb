"""The asset `source_documents`: read the source, compare with the store, write the plan."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg
from pymongo import MongoClient

from assets.failures import explained
from assets.plan import Plan, PlanWriter
from assets.planning import Planner
from resources.batch_store import BatchStore, BatchStoreResource
from resources.chunks import Chunk
from resources.embedders.packing import estimate_tokens
from resources.embedders.resource import EmbedderResource
from resources.embedders.space import EmbeddingSpace
from resources.mongodb.resource import MongoDBResource
from resources.progress import Progress
from resources.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.records import EXCERPT_LENGTH, RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource
from resources.vector_store import VectorStore, VectorStoreResource

PREVIEW_ROWS = 4


@dataclass(frozen=True)
class Comparison:
    """What reading the source brought to light."""

    plan: Plan
    rejected: int
    healed: int
    characters: int
    preview: list[Chunk]
    seconds: float
    rate: float


def compare(
    source: SourceResource,
    *,
    client: MongoClient,
    store: VectorStore,
    registry: Registry,
    batches: BatchStore,
    space: EmbeddingSpace,
    limits: EmbedderResource,
    deletions: VectorStoreResource,
    pipeline: str,
    run: str,
    log: Callable[[str], None],
) -> Comparison:
    """Read the whole source once, and plan what is to be embedded, stored and deleted."""
    progress = Progress(log, "records read")
    preview: list[Chunk] = []
    rejected: list[RejectedRecord] = []
    totals = {"characters": 0, "rejected": 0}

    def flush() -> None:
        totals["rejected"] += len(rejected)
        registry.quarantine(pipeline, run, rejected)
        rejected.clear()

    def chunks() -> Iterator[Chunk]:
        for record in source.read(client):
            progress.advance(1)
            if isinstance(record, SourceDocument):
                chunk = Chunk.whole(record.id, record.text, record.fields)
                totals["characters"] += len(chunk.text)
                if len(preview) < PREVIEW_ROWS:
                    preview.append(chunk)
                yield chunk
            else:
                rejected.append(record)
                if len(rejected) >= 1_000:
                    flush()

    with Planner(space.id, store.stored) as planner:
        for repeated in planner.add(chunks()):
            rejected += [_duplicate(source, chunk) for chunk in repeated]
            flush()
        flush()
        # A limit that cut the source off: what was not looked at has not vanished.
        whole = source.limit is None or progress.done < source.limit
        if whole:
            planner.vanished(
                store.ids,
                store.count(),
                max_fraction=deletions.max_delete_fraction,
                allow=deletions.allow_delete,
            )
        planner.resolve(store.known_texts, batches.texts_by_batch(space.id))
        writer = PlanWriter(batches, pipeline=pipeline, run=run, space=space)
        for part in planner.parts(
            max_chunks=limits.max_batch_chunks,
            max_tokens=limits.max_batch_tokens,
            tokens=estimate_tokens,
        ):
            writer.add(part)
        plan = writer.finish(dataclasses.asdict(planner.counts))
    healed = registry.release_healed(pipeline, run) if whole else 0
    progress.finish()
    return Comparison(
        plan,
        totals["rejected"],
        healed,
        totals["characters"],
        preview,
        progress.seconds,
        progress.rate,
    )


def _duplicate(source: SourceResource, chunk: Chunk) -> RejectedRecord:
    return RejectedRecord(
        id=chunk.id,
        where=source.describe(),
        reason="another record of the source has the same id; the first one counts",
        excerpt=chunk.text[:EXCERPT_LENGTH],
    )


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
        with explained():
            # Settings that contradict each other stop the run before a server is asked.
            vector_store.namespace(source)
            space = embedder.space()
            search_index.check(space)
            with mongodb.connect() as client:
                store = vector_store.open(client, source, pipeline)
                registry = Registry(client, mongodb.registry)
                registry.record_space(space)
                store.prepare()
                found = compare(
                    source,
                    client=client,
                    store=store,
                    registry=registry,
                    batches=batch_store.open(),
                    space=space,
                    limits=embedder,
                    deletions=vector_store,
                    pipeline=pipeline,
                    run=context.run_id,
                    log=context.log.info,
                )
                quarantined = registry.quarantined(pipeline, limit=PREVIEW_ROWS)
        counts = found.plan.counts
        for space_id, vectors in counts["replaced_spaces"].items():
            context.log.warning(
                f"{vectors:,} vectors of the space {space_id} will be replaced by {space.id}"
            )
        if not found.plan.parts:
            context.log.info("nothing to do: every chunk has its vector")
        metadata = {
            "dagster/row_count": counts["source"],
            "source": source.describe(),
            "space": space.id,
            "new": counts["new"],
            "changed": counts["changed"],
            "unchanged": counts["unchanged"],
            "fields changed": counts["refreshed"],
            "deleted": counts["deleted"],
            "to embed": counts["to_embed"],
            "vectors reused": counts["reused"],
            "rejected now": found.rejected,
            "left quarantine": found.healed,
            "characters": found.characters,
            "seconds": round(found.seconds, 3),
            "records per second": round(found.rate, 1),
            "plan": found.plan.id,
            "preview": dg.MetadataValue.md(_preview(found.preview)),
        }
        if counts["replaced_spaces"]:
            metadata["replaces spaces"] = dg.MetadataValue.json(counts["replaced_spaces"])
        if quarantined:
            rows = [
                {"id": str(entry.id), "where": entry.where, "reason": entry.reason,
                 "text": entry.excerpt, "times seen": entry.count}
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
