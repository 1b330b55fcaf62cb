"""Whether figures are what was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass

from resources.evaluation.resource import EvaluationResource
from resources.registry.evaluations import Evaluation

MARGIN = 1e-9
"""Of sums of floats."""


@dataclass(frozen=True)
class Verdict:
    """What is to be said of an evaluation.

    Attributes:
        low: Measures below what is enough: `{name: (what it is, what is enough)}`.
        worse: Measures that fell by more than is tolerated: `{name: (before, now)}`.
    """

    low: Mapping[str, tuple[float, float]]
    worse: Mapping[str, tuple[float, float]]

    @property
    def passed(self) -> bool:
        return not self.low and not self.worse


def verdict(
    measures: Mapping[str, Mapping[str, float]],
    baseline: Evaluation | None,
    settings: EvaluationResource,
) -> Verdict:
    """Judge figures in which a relevant document that is not there counts as missed.

    Args:
        measures: By name, with their `mean`.
        baseline: What they are compared with; None: there is nothing yet.
        settings: What is enough, and what is tolerated.
    """
    means = {name: each["mean"] for name, each in measures.items()}
    low = {
        name: (means[name], least)
        for name, least in settings.min.items()
        if means[name] < least - MARGIN
    }
    worse = {}
    for name, value in means.items():
        before = baseline.measures.get(name) if baseline else None
        if before and value < before["mean"] - settings.tolerance - MARGIN:
            worse[name] = (before["mean"], value)
    return Verdict(low, worse)
