"""The asset `stored_vectors`: write the vectors to MongoDB, and only then remove what vanished."""

import dagster as dg

from assets import report, tagging
from assets.about import About, Settings
from assets.opened import opened, required
from assets.report import page, versions
from assets.sharding import partitions
from assets.work.storing import store
from assets.work.versions import CODE


def build_stored_vectors(about: About, prefix: str) -> dg.AssetsDefinition:
    pipeline, upstream = about.settings.pipeline, about.upstream(about.settings.source)

    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        code_version=CODE["stored_vectors"],
        owners=about.owners,
        tags=about.tags,
        metadata=page.stored_vectors(about.settings, upstream),
        required_resource_keys=required(prefix),
        partitions_def=partitions(about.shards),
        deps=[dg.AssetKey([pipeline, "embedding_batches"])],
    )
    def stored_vectors(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Vectors in MongoDB, each with its lineage: model, text, batch, run and time."""
        with opened(context, pipeline, prefix, shards=about.shards, piece=True) as o:
            if o.left_alone:
                return report.left_alone(o, versions.last(context))
            outcome = store(o)
            tagging.done(context, o, outcome)
            version = versions.version(o, outcome, context)
            above = about.upstream(o.source)
            said = page.stored_vectors(Settings.of(o), above, outcome.stored_as)
        return report.result(outcome, {**said, **report.stored(outcome)}, version)

    return stored_vectors
