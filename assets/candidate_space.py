"""The asset `candidate_space`: another embedding space, built beside the one that serves."""

import dagster as dg

from assets import report, tagging
from assets.about import CANDIDATE, About
from assets.opened import opened, required
from assets.report import candidate, versions
from assets.work.candidate import build
from assets.work.versions import CODE


def build_candidate_space(about: About, prefix: str) -> dg.AssetsDefinition:
    pipeline = about.settings.pipeline

    @dg.asset(
        name=CANDIDATE,
        key_prefix=[pipeline],
        group_name=pipeline,
        kinds={"mongodb"},
        code_version=CODE[CANDIDATE],
        owners=about.owners,
        tags=about.tags,
        required_resource_keys=required(prefix),
        deps=[dg.AssetKey([pipeline, "search_index"])],
    )
    def candidate_space(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The space that the settings want beside the one that serves: nothing, as a rule."""
        with opened(context, pipeline, prefix, candidate=True) as o:
            if o.settings is o:
                none = dg.DataVersion("none")
                return dg.MaterializeResult(metadata=candidate.none(o), data_version=none)
            outcome = build(o)
            tagging.done(context, o, outcome)
            version = versions.version(o, outcome)
        return report.result(outcome, candidate.built(outcome), version)

    return candidate_space
