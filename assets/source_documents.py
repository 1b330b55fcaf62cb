"""The asset `source_documents`: read the source, compare with the store, write the plan."""

from collections.abc import Sequence

import dagster as dg

from assets import report
from assets.opened import opened, required
from assets.work.comparing import plan_work


def build_source_documents(
    pipeline: str, prefix: str, kinds: set[str], warnings: Sequence[str] = ()
) -> dg.AssetsDefinition:
    """The asset.

    Args:
        pipeline: Name of the pipeline.
        prefix: Of its resources' keys.
        kinds: Of the source.
        warnings: What every run of the pipeline shall say of its settings.
    """

    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version="1",
        required_resource_keys=required(prefix),
    )
    def source_documents(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The texts to make searchable, compared with what is stored: the plan of the run."""
        for line in warnings:
            context.log.warning(line)
        with opened(context, pipeline, prefix) as o:
            outcome = plan_work(o)
        return report.result(outcome, report.planned(outcome))

    return source_documents
