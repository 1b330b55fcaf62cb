"""The asset `candidate_space`: another embedding space, built beside the one that serves."""

import dagster as dg

from assets import report, tagging
from assets.about import CANDIDATE, About
from assets.opened import opened, required
from assets.report import candidate
from assets.work.candidate import build


def build_candidate_space(about: About, prefix: str) -> dg.AssetsDefinition:
    pipeline = about.settings.pipeline

    @dg.asset(
        name=CANDIDATE,
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        code_version="1",
        owners=about.owners,
        tags=about.tags,
        required_resource_keys=required(prefix),
        deps=[dg.AssetKey([pipeline, "search_index"])],
    )
    def candidate_space(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The space that the settings want beside the one that serves: nothing, as a rule."""
        with opened(context, pipeline, prefix, candidate=True) as o:
            if o.settings is o:
                return dg.MaterializeResult(metadata=candidate.none(o))
            outcome = build(o)
            tagging.done(context, o, outcome)
        return report.result(outcome, candidate.built(outcome))

    return candidate_space
