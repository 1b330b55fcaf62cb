"""What two spaces answer, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.work.gating.verdict import Row
from assets.work.opened import Opened
from assets.work.quality.chance import by_chance
from assets.work.quality.measured import figures
from resources.core.errors import EvaluationError
from resources.core.keys import key
from resources.evaluation.judged import QuerySet
from resources.evaluation.measures import MEASURES
from resources.model_change.resource import GateSettings
from resources.registry.evaluations import Evaluation

FIRST = next(iter(MEASURES))
NEAREST = 10


@dataclass(frozen=True)
class Compared:
    """Both were asked the same.

    Attributes:
        new: Whether anything had to be measured now.
    """

    serving: Evaluation
    candidate: Evaluation
    new: bool


def compare(serving: Opened, candidate: Opened, queries: QuerySet) -> Compared:
    """Ask both spaces; what was measured of the same state before is used again.

    Raises:
        EvaluationError: The queries cannot be used, or the library is not installed.
        EmbeddingsError: One of them cannot be searched.
    """
    before, known = _measured(serving, queries)
    now, also_known = _measured(candidate, queries)
    return Compared(before, now, not (known and also_known))


def _measured(lane: Opened, queries: QuerySet) -> tuple[Evaluation, bool]:
    """The evaluation, and whether it was known."""
    evaluations = lane.registry.evaluations

    def known(state: Mapping[str, Any]) -> Evaluation | None:
        return _kept(lane, evaluations.of_state(lane.name, state))

    made, reused = figures(lane, queries, known, kind="gate")
    if not reused:
        evaluations.record(made)
    return made, reused


def _kept(lane: Opened, known: Evaluation | None) -> Evaluation | None:
    """Of what was found nothing can be compared where the rankings are not there any more."""
    return known if known and lane.batches.rankings.windows(lane.name, known.id) else None


def rows(o: Opened, compared: Compared, gate: GateSettings) -> list[Row]:
    return [_ndcg(o, compared, gate), _overlap(o, compared, gate), _latency(compared, gate)]


def _ndcg(o: Opened, compared: Compared, gate: GateSettings) -> Row:
    before, now = (each.measures[FIRST]["mean"] for each in (compared.serving, compared.candidate))
    found = by_chance(o, compared.serving, compared.candidate).get(FIRST)
    if found is None:
        raise EvaluationError(f"what was found for the queries of {o.name} is not kept any more")
    worse = found.mean < -gate.max_worse and found.p < gate.significance
    allowed = f"not worse beyond chance (p {gate.significance:g})"
    if gate.max_worse:
        allowed += f", or by {gate.max_worse:g} at most"
    return Row(
        "nDCG@10",
        f"{before:.4f}",
        f"{now:.4f} ({found.mean:+.4f}, p {found.p:.3f})",
        allowed,
        passed=not worse,
        figures={
            "serving": before,
            "candidate": now,
            "difference": found.mean,
            "low": found.low,
            "high": found.high,
            "p": found.p,
        },
    )


def _overlap(o: Opened, compared: Compared, gate: GateSettings) -> Row:
    rankings = o.batches.rankings
    read = (rankings.read(o.name, each.id) for each in (compared.serving, compared.candidate))
    shares = []
    for one, other in zip(*read, strict=True):
        mine, theirs = ({key(each) for each in row.ids[:NEAREST]} for row in (one, other))
        if mine or theirs:
            shares.append(len(mine & theirs) / max(len(mine), len(theirs)))
    mean = float(np.mean(shares)) if shares else 1.0
    least = gate.min_overlap
    return Row(
        "overlap@10",
        "",
        f"{mean:.3f}",
        f"at least {least:g}" if least else "",
        passed=mean >= least if least else None,
        figures={"candidate": mean},
    )


def _latency(compared: Compared, gate: GateSettings) -> Row:
    def told(latency: Any) -> str:
        if "p95" not in latency:
            return "not timed"
        return f"{1000 * latency['p50']:.1f} ms (p50), {1000 * latency['p95']:.1f} ms (p95)"

    before, now = compared.serving.latency, compared.candidate.latency
    most, passed = gate.max_latency_factor, None
    if most is not None and "p95" in before and "p95" in now:
        passed = now["p95"] <= most * before["p95"]
    numbers = {}
    for name, latency in (("serving", before), ("candidate", now)):
        for each in ("p50", "p95"):
            if each in latency:
                numbers[f"{name} {each}"] = latency[each]
    return Row(
        "latency of a search",
        told(before),
        told(now),
        f"p95 at most {most:g} times as long" if most is not None else "",
        passed=passed,
        figures=numbers,
    )
