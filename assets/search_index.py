"""The asset `search_index`: the index over the stored vectors, proved by searching it."""

import dagster as dg

from assets import report, tagging
from assets.about import About, Settings
from assets.opened import opened, required
from assets.report import page, versions
from assets.sharding import PLAN, after_all
from assets.work.proving import index, merge
from assets.work.spaces import complete
from assets.work.versions import CODE
from assets.work.whole import refuse_a_part


def build_search_index(about: About, prefix: str) -> dg.AssetsDefinition:
    pipeline = about.settings.pipeline

    @dg.asset(
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        code_version=CODE["search_index"],
        owners=about.owners,
        tags=about.tags,
        metadata=page.search_index(about.settings),
        required_resource_keys=required(prefix),
        deps=[after_all(dg.AssetKey([pipeline, "stored_vectors"]), about.shards)],
    )
    def search_index(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The vector index that searches use, equal to its declaration and to what is stored."""
        with opened(context, pipeline, prefix, shards=about.shards) as o:
            if o.left_alone:
                return report.left_alone(o, versions.last(context))
            plan = {}
            if o.shards > 1:
                refuse_a_part(o)
                plan = {PLAN: o.plan.id}
            outcome = index(o)
            complete(o, outcome.report.indexed)
            tagging.done(context, o, outcome)
            version = versions.version(o, outcome, context)
            said = page.search_index(Settings.of(o), outcome.report)
        if outcome.report.merge_due:  # while the new version serves, and the next run may begin
            with opened(context, pipeline, prefix, hold=False) as o:
                outcome = merge(o, outcome)
        return report.result(outcome, {**said, **report.indexed(outcome), **plan}, version)

    return search_index
