"""Asset checks: each sits on the asset it judges, and says what to do where it fails."""

from collections.abc import Sequence

import dagster as dg
import numpy as np

from assets.failures import explained
from assets.search_index import open_engine
from assets.work.auditing import examine
from assets.work.plan import read_plan
from assets.work.proving import probe
from assets.work.spaces import pipeline_space
from resources.batch_store.resource import BatchStoreResource
from resources.core.errors import BatchStoreError, ProviderError
from resources.embedders.base import check_reply
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource

MAX_QUARANTINE_SHARE = 0.05
SAMPLED_BATCHES = 20
AUDITED_BATCHES = 5


def build_checks(pipeline: str) -> Sequence[dg.AssetChecksDefinition]:
    def key(name: str) -> dg.AssetKey:
        return dg.AssetKey([pipeline, name])

    @dg.asset_check(asset=key("source_documents"))
    def few_in_quarantine(
        embedder: EmbedderResource, mongodb: MongoDBResource, batch_store: BatchStoreResource
    ) -> dg.AssetCheckResult:
        """At most one record in twenty stands in quarantine."""
        with explained(), mongodb.connect() as client:
            plan = read_plan(batch_store.open(), pipeline, embedder.space())
            quarantine = Registry(client, mongodb.registry).quarantine
            held = quarantine.count(pipeline)
            # What the source's reading refuses is not among its chunks.
            total = plan.counts["source"] + quarantine.count(pipeline, "source")
        share = held / total if total else 0.0
        return dg.AssetCheckResult(
            passed=share <= MAX_QUARANTINE_SHARE,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{held:,} of {total:,} records are in quarantine"
            + ("; the asset's metadata shows why" if held else ""),
            metadata={"quarantined": held, "share": share},
        )

    @dg.asset_check(asset=key("embedding_batches"), blocking=True)
    def batches_are_sound(
        embedder: EmbedderResource, batch_store: BatchStoreResource
    ) -> dg.AssetCheckResult:
        """Batches of the plan are there, of the right width, finite and of unit length."""
        with explained():
            batches = batch_store.open()
            plan = read_plan(batches, pipeline, embedder.space())
        parts = plan.of_kind("copy", "embed")
        # Evenly spread, so that a long run is judged along its whole length.
        step = max(1, len(parts) // SAMPLED_BATCHES)
        problems, rows = [], 0
        for part in parts[::step]:
            try:
                batch = batches.read_batch(plan.space.id, part.batch)
                check_reply(batch.vectors, len(batch.lineage), plan.space)
                rows += len(batch.lineage)
            except (BatchStoreError, ProviderError) as error:
                problems.append(str(error))
        return dg.AssetCheckResult(
            passed=not problems,
            description=problems[0] if problems else f"{rows:,} vectors looked at",
            metadata={"vectors looked at": rows, "batches of the plan": len(parts)},
        )

    @dg.asset_check(asset=key("stored_vectors"), blocking=True)
    def one_space(
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
    ) -> dg.AssetCheckResult:
        """Every stored vector has its lineage, and all are of the pipeline's space."""
        with explained(), mongodb.connect() as client:
            wanted = pipeline_space(
                client, source=source, embedder=embedder, mongodb=mongodb, vector_store=vector_store
            )
            scale_of = Registry(client, mongodb.registry).int8_scale
            store = vector_store.open(client, source, wanted, pipeline, scale_of=scale_of)
            bare = store.without_lineage()
            others = {name: store.count_space(name) for name in store.spaces() if name != wanted.id}
        problem = ""
        if others:
            listed = ", ".join(f"{count:,} of {name}" for name, count in others.items())
            problem = (
                f"{store.key} also holds {listed}: materialize the pipeline they belong to, or "
                "give each space a path of its own"
            )
        # In place, and where vectors are adopted, no search finds them.
        elif bare and not (store.in_place or store.adopt):
            problem = (
                f"{bare:,} documents of {store.key} have a vector without lineage: they were not "
                "written by this project; choose another `path`, or remove them"
            )
        return dg.AssetCheckResult(
            passed=not problem,
            description=problem or f"all vectors are of the space {wanted.id}",
            metadata={"without lineage": bare, "of other spaces": sum(others.values())},
        )

    @dg.asset_check(asset=key("stored_vectors"))
    def vectors_as_embedded(
        context: dg.AssetCheckExecutionContext,
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        batch_store: BatchStoreResource,
    ) -> dg.AssetCheckResult:
        """Stored vectors of some batches are what was embedded; an audit looks at all."""
        with explained(), mongodb.connect() as client:
            space = pipeline_space(
                client, source=source, embedder=embedder, mongodb=mongodb, vector_store=vector_store
            )
            batches = batch_store.open()
            scale_of = Registry(client, mongodb.registry).int8_scale
            store = vector_store.open(client, source, space, pipeline, scale_of=scale_of)
            names = batches.batches(space.id)
            step = max(1, len(names) // AUDITED_BATCHES)
            found = examine(
                space, names=names[::step], batches=batches, store=store, all_shapes=False
            )
        faults = found.describe()
        return dg.AssetCheckResult(
            passed=not faults,
            description=(
                f"{faults}: `embeddings audit {pipeline} --repair` compares all and mends them"
                if faults
                else f"{found.compared:,} vectors are as they were embedded"
            ),
            metadata={"compared": found.compared},
        )

    @dg.asset_check(asset=key("stored_vectors"), blocking=True)
    def all_stored(
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        batch_store: BatchStoreResource,
    ) -> dg.AssetCheckResult:
        """Every chunk of the source has its vector, or stands in quarantine."""
        with explained(), mongodb.connect() as client:
            plan = read_plan(batch_store.open(), pipeline, embedder.space())
            registry = Registry(client, mongodb.registry)
            store = vector_store.open(
                client, source, plan.space, pipeline, scale_of=registry.int8_scale
            )
            stored, quarantine = store.count(), registry.quarantine
            # Of what the source's reading refuses nothing is among its chunks.
            held = quarantine.count(pipeline, "provider", "store")
        wanted = plan.counts["source"]
        missing = max(0, wanted - stored - held)
        return dg.AssetCheckResult(
            passed=not missing,
            description=(
                f"{missing:,} of {wanted:,} chunks have no vector: materialize the whole pipeline"
                if missing
                else f"{stored:,} vectors for {wanted:,} chunks"
            ),
            metadata={"chunks": wanted, "vectors": stored, "quarantined": held},
        )

    @dg.asset_check(asset=key("search_index"))
    def index_is_complete(
        context: dg.AssetCheckExecutionContext,
        source: SourceResource,
        embedder: EmbedderResource,
        mongodb: MongoDBResource,
        vector_store: VectorStoreResource,
        search_index: SearchIndexResource,
        batch_store: BatchStoreResource,
    ) -> dg.AssetCheckResult:
        """The index serves as many vectors as are stored, and finds those it is asked for."""
        with explained(), mongodb.connect() as client:
            engine, store, space = open_engine(
                client,
                source=source,
                embedder=embedder,
                mongodb=mongodb,
                vector_store=vector_store,
                search_index=search_index,
                batch_store=batch_store,
                pipeline=pipeline,
            )
            found = engine.coverage(thorough=False)
            probes = probe(engine, store, space.id, search_index.similarity)
        lost = [p.id for p in probes if not p.right]
        problem = found.why
        if lost and not problem:
            problem = f"the index does not find {', '.join(lost)}: materialize search_index again"
        return dg.AssetCheckResult(
            passed=not problem,
            description=problem or f"{found.indexed:,} vectors indexed and stored",
            metadata={
                "indexed": found.indexed,
                "stored": found.stored,
                "probes": len(probes),
                "mean probe score": float(np.mean([p.score for p in probes] or [0.0])),
            },
        )

    return [
        few_in_quarantine,
        batches_are_sound,
        one_space,
        vectors_as_embedded,
        all_stored,
        index_is_complete,
    ]
