"""The asset `stored_vectors`: write the vectors to MongoDB, and only then remove what vanished."""

import dagster as dg

from assets import report
from assets.opened import opened, required
from assets.work.storing import store


def build_stored_vectors(pipeline: str, prefix: str) -> dg.AssetsDefinition:
    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        code_version="1",
        required_resource_keys=required(prefix),
        deps=[dg.AssetKey([pipeline, "embedding_batches"])],
    )
    def stored_vectors(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Vectors in MongoDB, each with its lineage: model, text, batch, run and time."""
        with opened(context, pipeline, prefix) as o:
            outcome = store(o)
        return report.result(outcome, report.stored(outcome))

    return stored_vectors
