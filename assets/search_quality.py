"""The asset `search_quality`: how good searches are, on judged queries of the pipeline's own."""

import dagster as dg

from assets import report, tagging
from assets.about import QUALITY, About
from assets.opened import opened, required
from assets.report import quality
from assets.report.again import shown_last
from assets.work.quality import measure


def build_search_quality(about: About, prefix: str) -> dg.AssetsDefinition:
    pipeline = about.settings.pipeline

    @dg.asset(
        name=QUALITY,
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        # Another one where it would show the same figures in another way.
        code_version="1",
        owners=about.owners,
        tags=about.tags,
        required_resource_keys=required(prefix),
        deps=[dg.AssetKey([pipeline, "search_index"])],
    )
    def search_quality(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """How good searches are: of judged queries, how far up what answers them is found."""
        # It reads what is stored, and leaves it as it is: another run may begin.
        with opened(context, pipeline, prefix, hold=False) as o:
            if not o.evaluation.chosen:
                o.log("nothing is measured: this run has `evaluation: {queries: {none: {}}}`")
                return dg.MaterializeResult(metadata=quality.not_measured())
            if o.left_alone:
                return report.left_alone(o)
            outcome = measure(o)
            tagging.done(context, o, outcome)
            last = None
            if outcome.reused:
                last = shown_last(context, quality.PICTURES, evaluation=outcome.evaluation.id)
            said = quality.measured(outcome, o, last)
        return report.result(outcome, said)

    return search_quality
