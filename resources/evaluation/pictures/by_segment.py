"""Quality told apart by groups of queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.evaluation.measures import Interval
from resources.evaluation.pictures import fonts
from resources.evaluation.pictures.drawing import ACCENT, LABEL, SOFT, axes, nothing, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 25
"""Segments that are shown: those of the most queries."""


@dataclass(frozen=True)
class Segment:
    """Some of the queries.

    Attributes:
        name: What they have in common, such as `language: de`.
        queries: How many they are.
        quality: Of one measure.
    """

    name: str
    queries: int
    quality: Interval


def by_segment(
    segments: Sequence[Segment], measure: str = "ndcg@10", overall: float | None = None
) -> bytes:
    """A PNG: a row a segment, in the order given.

    Args:
        segments: The rows.
        measure: What is measured.
        overall: Of all queries; an upright line.

    Raises:
        EvaluationError: Matplotlib is not installed.
    """
    largest = sorted(range(len(segments)), key=lambda at: (-segments[at].queries, at))[:MOST]
    shown = [segments[at] for at in sorted(largest)]

    def draw(figure: "Figure") -> None:
        if shown:
            _draw(figure, shown, measure, overall)
        else:
            nothing(figure, "the queries are in no segments")

    return png(draw, 8, 1.1 + 0.3 * max(len(shown), 3))


def _draw(
    figure: "Figure", segments: Sequence[Segment], measure: str, overall: float | None
) -> None:
    left = "" if overall is None else "dashed: of all queries; "
    ax = axes(figure, measure, "", f"{left}bars: 95 % intervals; in brackets: queries")
    ax.grid(False, axis="y")
    rows = list(range(len(segments)))
    ax.set_ylim(len(segments) - 0.5, -0.5)
    names = [f"{fonts.written(each.name, LABEL)} ({each.queries:,})" for each in segments]
    ax.set_yticks(rows, names, **fonts.props())
    if overall is not None:
        ax.axvline(overall, color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
    for row, each in zip(rows, segments, strict=True):
        ax.plot([each.quality.low, each.quality.high], [row, row], color=SOFT, linewidth=1.2)
        ax.plot(each.quality.mean, row, marker="o", color=ACCENT, markersize=7)
