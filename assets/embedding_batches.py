"""The asset `embedding_batches`: embed what the plan asks for, and write every batch down."""

import dagster as dg

from assets import report, tagging
from assets.about import About, Settings
from assets.opened import opened, required
from assets.report import page
from assets.work.embedding import embed


def build_embedding_batches(about: About, prefix: str, kinds: set[str]) -> dg.AssetsDefinition:
    pipeline = about.settings.pipeline

    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version="1",
        owners=about.owners,
        tags=about.tags,
        metadata=page.embedding_batches(about.settings),
        required_resource_keys=required(prefix),
        deps=[dg.AssetKey([pipeline, "source_documents"])],
    )
    def embedding_batches(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Vectors of the texts that have none yet, as Parquet files: the checkpoint of the run."""
        with opened(context, pipeline, prefix) as o:
            if o.left_alone:
                return report.left_alone(o)
            outcome = embed(o)
            tagging.done(context, o, outcome)
            said = page.embedding_batches(Settings.of(o), outcome.space)
        return report.result(outcome, {**said, **report.embedded(outcome)})

    return embedding_batches
