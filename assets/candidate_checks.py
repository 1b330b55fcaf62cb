"""Checks on the asset `candidate_space`: what holds of the serving space holds of another one too.

One step for all of them, since in most runs nothing is built.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import getdoc
from typing import Any

import dagster as dg

from assets.about import CANDIDATE, PROMOTED
from assets.checks import all_stored, batches_are_sound, index_is_complete, one_space
from assets.failing import StepFailed
from assets.opened import opened, required
from assets.report import candidate
from assets.work.changing.promoting import held_back, judged, promoted_by_itself
from assets.work.gating import Verdict
from assets.work.opened import Opened
from resources.core.errors import SpaceError
from resources.core.markdown import literal
from resources.registry.pipeline_spaces import SpaceEntry

JUDGES: Mapping[str, tuple[str, Callable[[Opened], dg.AssetCheckResult]]] = {
    "candidate_batches_are_sound": (
        "Batches of the space that is built are there, of the right width, finite and of unit "
        "length.",
        batches_are_sound,
    ),
    "candidate_is_one_space": (
        "Every vector at the path of the space that is built has its lineage, and is of it.",
        one_space,
    ),
    "candidate_is_all_stored": (
        "Every chunk of the source has its vector in the space that is built, or stands in "
        "quarantine.",
        all_stored,
    ),
    "candidate_index_is_complete": (
        "The index of the space that is built serves as many vectors as are stored there, and "
        "finds those it is asked for.",
        index_is_complete,
    ),
}
"""By name: what it says of itself, and what judges."""

GATE = "may_serve"

NOTHING = "nothing is built: the settings want the space that serves"


def build_candidate_checks(pipeline: str, prefix: str) -> dg.AssetChecksDefinition:
    """The checks; one that fails fails the run, after all else of it is done."""
    asset = dg.AssetKey([pipeline, CANDIDATE])

    @dg.multi_asset_check(
        name=f"{asset.to_python_identifier()}_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=asset, description=said)
            for name, (said, _) in [*JUDGES.items(), (GATE, (getdoc(gate), gate))]
        ],
        required_resource_keys=required(prefix),
    )
    def candidate_checks(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        failed = []
        with opened(context, pipeline, prefix, candidate=True) as o:
            for name, (_, judge) in JUDGES.items():
                if o.candidate is None:
                    found = dg.AssetCheckResult(passed=True, description=NOTHING)
                else:
                    found = judge(o)
                if not found.passed:
                    failed.append(f"the check {name} failed: {found.description}")
                # The Dagster UI reads it as Markdown, and it may name what stands in documents.
                said = literal(found.description or "")
                yield found._replace(description=said, asset_key=asset, check_name=name)
            judged = gate(o, failed)
            said = literal(judged.description or "")
            yield judged._replace(description=said, asset_key=asset, check_name=GATE)
        if failed:  # Dagster would say only that one did
            raise StepFailed("; ".join(failed), kind="CheckFailed")

    return candidate_checks


def gate(o: Opened, failed: Sequence[str]) -> dg.AssetCheckResult:
    """The space that is built may serve: it holds, finds and costs what `model_change: gate` asks.

    With `promote: auto` it serves from then on.
    """
    warn = dg.AssetCheckSeverity.WARN
    if o.candidate is None:
        return dg.AssetCheckResult(passed=True, description=NOTHING)
    entry = o.record.entry(o.space.id)
    if failed or entry is None or entry.missing or not entry.built:
        why = "not judged: it is not complete, or another check failed"
        return dg.AssetCheckResult(passed=False, severity=warn, description=why)
    verdict = judged(o.settings, entry)
    said, promoted = [str(verdict), *verdict.notes], False
    if verdict.passed:
        what, promoted = _next(o, entry, verdict)
        said.append(what)
    return dg.AssetCheckResult(
        passed=verdict.passed,
        severity=warn,
        description="; ".join(said),
        metadata={**candidate.gate(verdict), PROMOTED: promoted},
    )


def _next(o: Opened, entry: SpaceEntry, verdict: Verdict) -> tuple[str, bool]:
    """What comes of it, and whether the space serves from now on."""
    if o.model_change.promote != "auto":
        return f"`embeddings promote {o.name} {entry.space_id}` lets it serve", False
    held = held_back(o, entry)
    if held:
        return held, False
    try:
        promoted_by_itself(o, entry, verdict)
    except SpaceError as error:
        return str(error), False
    return "it serves from now on (`promote: auto`)", True
