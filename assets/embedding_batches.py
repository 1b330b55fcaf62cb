"""The asset `embedding_batches`: embed what the plan asks for, and write every batch down."""

import dagster as dg

from assets import report, tagging
from assets.about import About, Settings
from assets.opened import opened, required
from assets.report import page, versions
from assets.sharding import partitions
from assets.work.embedding import embed
from assets.work.versions import CODE


def build_embedding_batches(about: About, prefix: str, kinds: set[str]) -> dg.AssetsDefinition:
    pipeline = about.settings.pipeline

    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version=CODE["embedding_batches"],
        owners=about.owners,
        tags=about.tags,
        metadata=page.embedding_batches(about.settings),
        required_resource_keys=required(prefix),
        op_tags=about.embedding_tags,
        partitions_def=partitions(about.shards),
        deps=[dg.AssetKey([pipeline, "source_documents"])],
    )
    def embedding_batches(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Vectors of the texts that have none yet, as Parquet files: the checkpoint of the run."""
        with opened(context, pipeline, prefix, shards=about.shards, piece=True) as o:
            if o.left_alone:
                return report.left_alone(o, versions.last(context))
            outcome = embed(o)
            tagging.done(context, o, outcome)
            version = versions.version(o, outcome, context)
            said = page.embedding_batches(Settings.of(o), outcome.space)
        return report.result(outcome, {**said, **report.embedded(outcome)}, version)

    return embedding_batches
