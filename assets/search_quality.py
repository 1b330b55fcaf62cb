"""The asset `search_quality`: how good searches are, on judged queries of the pipeline's own."""

import dagster as dg

from assets import report, tagging
from assets.about import QUALITY, About
from assets.opened import opened, required
from assets.report import quality, versions
from assets.report.again import shown_last
from assets.work.quality import measure
from assets.work.versions import CODE


def build_search_quality(about: About, prefix: str) -> dg.AssetsDefinition:
    pipeline = about.settings.pipeline

    @dg.asset(
        name=QUALITY,
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        # Another one where it would show the same figures in another way.
        code_version=CODE[QUALITY],
        owners=about.owners,
        tags=about.tags,
        required_resource_keys=required(prefix),
        op_tags=about.embedding_tags,
        deps=[dg.AssetKey([pipeline, "search_index"])],
    )
    def search_quality(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """How good searches are: of judged queries, how far up what answers them is found."""
        # It reads what is stored, and leaves it as it is: another run may begin.
        with opened(context, pipeline, prefix, hold=False) as o:
            if not o.evaluation.chosen:
                o.log("nothing is measured: this run has `evaluation: {queries: {none: {}}}`")
                none = dg.DataVersion("none")
                return dg.MaterializeResult(metadata=quality.not_measured(), data_version=none)
            if o.left_alone:
                return report.left_alone(o, versions.last(context))
            outcome = measure(o)
            tagging.done(context, o, outcome)
            last = None
            if outcome.reused:
                last = shown_last(context, quality.PICTURES, evaluation=outcome.evaluation.id)
            said = quality.measured(outcome, o, last)
            version = versions.version(o, outcome, context)
        return report.result(outcome, said, version)

    return search_quality
