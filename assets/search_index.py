"""The asset `search_index`: the index over the stored vectors, proved by searching it."""

from collections.abc import Callable

import dagster as dg
from pymongo import MongoClient
from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_fixed

from assets.exclusive import exclusive
from assets.failures import explained
from assets.report import cell
from assets.work.proving import Probe, probe
from assets.work.spaces import pipeline_space
from resources.batch_store.resource import BatchStoreResource
from resources.core.space import EmbeddingSpace
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.registry import Registry
from resources.search_index.engine import SearchEngine
from resources.search_index.mongodb.waiting import SETTLED
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import VectorStore


def open_engine(
    client: MongoClient,
    *,
    source: SourceResource,
    embedder: EmbedderResource,
    mongodb: MongoDBResource,
    vector_store: VectorStoreResource,
    search_index: SearchIndexResource,
    batch_store: BatchStoreResource,
    pipeline: str,
    log: Callable[[str], None] | None = None,
) -> tuple[SearchEngine, VectorStore, EmbeddingSpace]:
    """The engine over the pipeline's vectors, in the space of its embedder.

    With `log`, a new index is meant: it is told which engine it gets, and why. Without, an index
    keeps the engine that made it.
    """
    space = pipeline_space(
        client, source=source, embedder=embedder, mongodb=mongodb, vector_store=vector_store
    )
    search_index.check(space, vector_store.format(space).dtype, vector_store.path)
    registry = Registry(client, mongodb.registry)
    store = vector_store.open(client, source, space, pipeline, scale_of=registry.int8_scale)
    made = None if log else registry.index(store.key.index(search_index.name))
    engine = search_index.open(
        client,
        store=store,
        batches=batch_store.open(),
        registry=registry,
        space=space,
        pipeline=pipeline,
        served_by=made["engine"] if made else None,
        log=log or (lambda _: None),
    )
    return engine, store, space


def build_search_index(pipeline: str) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        code_version="1",
        deps=[dg.AssetKey([pipeline, "stored_vectors"])],
    )
    def search_index(
        context: dg.AssetExecutionContext,
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        search_index: SearchIndexResource,
        batch_store: BatchStoreResource,
    ) -> dg.MaterializeResult:
        """The vector index that searches use, equal to its declaration and to what is stored."""
        with (
            explained(),
            mongodb.connect() as client,
            exclusive(context, client, mongodb) as lease,
        ):
            engine, store, space = open_engine(
                client,
                source=source,
                embedder=embedder,
                mongodb=mongodb,
                vector_store=vector_store,
                search_index=search_index,
                batch_store=batch_store,
                pipeline=pipeline,
                log=context.log.info,
            )
            report = engine.reconcile(context.log.info, lease)
            # Search nodes follow a write within a second or so, which no count shows.
            patiently = Retrying(
                retry=retry_if_result(lambda found: not all(p.right for p in found)),
                wait=wait_fixed(search_index.poll_seconds),
                stop=stop_after_attempt(SETTLED if report.engine == "mongodb" else 1),
                retry_error_callback=lambda state: state.outcome and state.outcome.result(),
            )
            probes = patiently(probe, engine, store, space.id, search_index.similarity)
        if not report.changed:
            context.log.info("nothing to do: the index is up to date")
        return dg.MaterializeResult(
            metadata={
                "dagster/row_count": report.indexed,
                "index": search_index.name,
                "engine": report.engine,
                "space": space.id,
                "similarity": search_index.similarity,
                "filter fields": ", ".join(search_index.filter_fields) or "none",
                "rebuilt": report.changed,
                "vectors stored": report.stored,
                "vectors indexed": report.indexed,
                "probes that found themselves": f"{sum(p.right for p in probes)} of {len(probes)}",
                "seconds": round(report.seconds, 3),
                **report.details,
                "probes": dg.MetadataValue.md(_table(probes)),
            }
        )

    return search_index


def _table(probes: list[Probe]) -> str:
    lines = ["| searched for | found first | score |", "| --- | --- | ---: |"]
    lines += [f"| {cell(p.id)} | {cell(p.found)} | {p.score:.4f} |" for p in probes]
    return "\n".join(lines)
