"""The asset `source_documents`: read the source, compare with the store, write the plan."""

import dataclasses
from functools import partial

import dagster as dg

from assets.exclusive import exclusive
from assets.failures import explained
from assets.report import cell
from assets.work.comparing import compare
from assets.work.heap import settled_heap
from assets.work.plan import PlanWriter
from assets.work.preflight import check_deployment, check_settings
from resources.batch_store.resource import BatchStoreResource
from resources.core.chunks import Chunk
from resources.core.keys import shown
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource

QUARANTINE_ROWS = 20


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
                store = vector_store.open(
                    client, source, space, pipeline, scale_of=registry.int8_scale
                )
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
