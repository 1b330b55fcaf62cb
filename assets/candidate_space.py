"""The asset `candidate_space`: another embedding space, built beside the one that serves."""

import dagster as dg

from assets import report, tagging
from assets.about import CANDIDATE, About, Settings
from assets.opened import opened, required
from assets.report import candidate, page, versions
from assets.work.alongside import alongside
from assets.work.candidate import build
from assets.work.versions import CODE

LAST = {"dagster/priority": "-1"}
"""The serving space is finished first: its checks, and what is measured of its searches."""


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
        metadata=page.candidate_space(about.settings),
        required_resource_keys=required(prefix),
        deps=[dg.AssetKey([pipeline, "search_index"])],
        op_tags={**LAST, **about.embedding_tags},
    )
    def candidate_space(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The space that the settings want beside the one that serves: nothing, as a rule."""
        with opened(context, pipeline, prefix, candidate=True) as o:
            if o.candidate is None:
                found = alongside(o)
                tagging.nothing(context)
                return dg.MaterializeResult(
                    metadata=candidate.none(o.main.space.id, found),
                    data_version=dg.DataVersion("none"),
                )
            outcome = build(o)
            tagging.done(context, o, outcome)
            version = versions.version(o, outcome, context)
            said = page.candidate_space(Settings.of(o), o.place)
        return report.result(outcome, {**said, **candidate.built(outcome)}, version)

    return candidate_space
