"""The asset `embedding_batches`: embed what the plan asks for, and write every batch down."""

import dagster as dg

from assets import report
from assets.opened import opened, required
from assets.work.embedding import embed


def build_embedding_batches(pipeline: str, prefix: str, kinds: set[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version="1",
        required_resource_keys=required(prefix),
        deps=[dg.AssetKey([pipeline, "source_documents"])],
    )
    def embedding_batches(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Vectors of the texts that have none yet, as Parquet files: the checkpoint of the run."""
        with opened(context, pipeline, prefix) as o:
            outcome = embed(o)
        return report.result(outcome, report.embedded(outcome))

    return embedding_batches
