"""The asset `embedding_batches`: embed what the plan asks for, and write every batch down."""

from functools import partial

import dagster as dg
import numpy as np

from assets.exclusive import exclusive
from assets.failures import explained
from assets.report import cell
from assets.work.embedding import Outcome, embed_plan
from assets.work.heap import settled_heap
from assets.work.plan import read_plan
from resources.batch_store.resource import BatchStoreResource
from resources.core.progress import duration
from resources.core.space import EmbeddingSpace
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.neighbours import neighbours
from resources.registry.registry import Registry
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource


def build_embedding_batches(pipeline: str, kinds: set[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version="1",
        deps=[dg.AssetKey([pipeline, "source_documents"])],
    )
    def embedding_batches(
        context: dg.AssetExecutionContext,
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        batch_store: BatchStoreResource,
    ) -> dg.MaterializeResult:
        """Vectors of the texts that have none yet, as Parquet files: the checkpoint of the run."""
        with explained(), settled_heap():
            batches = batch_store.open()
            with mongodb.connect() as client, exclusive(context, client, mongodb) as lease:
                plan = read_plan(batches, pipeline, embedder.space())
                written = partial(batches.has_batch, plan.space.id)
                registry = Registry(client, mongodb.registry)
                jobs = registry.jobs(pipeline, context.run_id, written)
                journal = registry.ledger.journal(
                    pipeline=pipeline,
                    run=context.run_id,
                    provider=plan.space.provider,
                    model=embedder.provider.model,
                )
                with embedder.open(jobs, context.log.info, journal) as provider:
                    outcome = embed_plan(
                        plan,
                        batches=batches,
                        embedder=provider,
                        stores=neighbours(
                            vector_store.open(
                                client, source, plan.space, pipeline, scale_of=registry.int8_scale
                            ),
                            client,
                            registry,
                            plan.space,
                            cut=embedder.truncates,
                        ),
                        registry=registry,
                        limits=embedder,
                        lease=lease,
                        run=context.run_id,
                        log=context.log.info,
                    )
        if not plan.of_kind("copy", "embed"):
            context.log.info("nothing to embed")
        elif outcome.embedded:
            context.log.info(f"embedded {outcome.embedded:,} texts in {duration(outcome.seconds)}")
        if outcome.truncated:
            context.log.warning(
                f"{outcome.truncated:,} texts are longer than the model reads: their vectors know "
                "only the beginning"
            )
        space = plan.space
        metadata = {
            "dagster/row_count": outcome.embedded,
            "dagster/uri": f"{batches.url}/batches/{space.id}",
            "provider": space.provider,
            "model": provider.model,
            "space": space.id,
            "dimensions": space.dimensions,
            "batches written": outcome.batches,
            "embedded": outcome.embedded,
            "vectors copied": outcome.copied,
            "already embedded": outcome.already_there,
            "refused by the provider": outcome.refused,
            "longer than the model reads": outcome.truncated,
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
            metadata["preview"] = dg.MetadataValue.md(_preview(outcome))
        return dg.MaterializeResult(metadata=metadata)

    return embedding_batches


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


def _preview(outcome: Outcome) -> str:
    lines = ["| id | text | tokens | vector |", "| --- | --- | ---: | --- |"]
    for chunk, vector, tokens in outcome.preview:
        shown = "+.2f" if vector.dtype == np.float32 else ""
        start = ", ".join(format(value, shown) for value in vector[:2])
        count = "" if tokens < 0 else tokens
        lines.append(f"| {cell(chunk.id)} | {cell(chunk.text, 60)} | {count} | {start}, … |")
    return "\n".join(lines)
