"""The asset `source_documents`: read the source, compare with the store, write the plan."""

from collections.abc import Sequence

import dagster as dg

from assets import report, tagging
from assets.about import About, Settings
from assets.opened import opened, required
from assets.report import page, versions
from assets.work.comparing import plan_work
from assets.work.versions import CODE


def build_source_documents(
    about: About, prefix: str, kinds: set[str], warnings: Sequence[str] = ()
) -> dg.AssetsDefinition:
    """The asset.

    Args:
        about: What the pipeline's pages say.
        prefix: Of its resources' keys.
        kinds: Of the source.
        warnings: What every run of the pipeline shall say of its settings.
    """
    pipeline, upstream = about.settings.pipeline, about.upstream(about.settings.source)

    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds=kinds,
        code_version=CODE["source_documents"],
        owners=about.owners,
        tags=about.tags,
        metadata=page.source_documents(about.settings, upstream),
        required_resource_keys=required(prefix),
        deps=about.deps,
    )
    def source_documents(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The texts to make searchable, compared with what is stored: the plan of the run."""
        for line in warnings:
            context.log.warning(line)
        with opened(context, pipeline, prefix, shards=about.shards) as o:
            if o.left_alone:
                return report.left_alone(o, versions.last(context))
            outcome = plan_work(o)
            tagging.done(context, o, outcome)
            version = versions.version(o, outcome, context)
            said = page.source_documents(Settings.of(o), about.upstream(o.source))
        return report.result(outcome, {**said, **report.planned(outcome)}, version)

    return source_documents
