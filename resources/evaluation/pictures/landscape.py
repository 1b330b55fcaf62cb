"""The space as a map: documents that mean alike lie close, as far as two dimensions can show it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from resources.evaluation.pictures import fonts
from resources.evaluation.pictures.drawing import (
    COLOURS,
    INK,
    MARKERS,
    SOFT,
    nothing,
    png,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = 2_000
GROUPS = len(COLOURS)
_LABEL = 30
_OTHERS, _ALSO = "#c3cbc7", (("x", INK), ("+", "#b3261e"), ("1", SOFT))


def landscape(
    points: np.ndarray,
    groups: Sequence[str],
    marks: Mapping[str, np.ndarray] | None = None,
    by: str = "",
    key: str = "",
) -> bytes:
    """A PNG of at most 2,000 points, evenly taken from more.

    Args:
        points: Shape (n, 2).
        groups: One a point; the ten of the most points have a colour and a sign, largest first.
        marks: What else lies there, by name: shape (m, 2) each; the first three are drawn.
        by: What the groups are, above their names.
        key: How the picture is read.

    Raises:
        EvaluationError: Matplotlib is not installed.
    """
    finite = np.flatnonzero(np.isfinite(points).all(axis=1)) if len(points) else np.zeros(0, int)
    rows = finite[np.linspace(0, len(finite) - 1, min(len(finite), POINTS)).astype(int)]

    def draw(figure: "Figure") -> None:
        if len(rows):
            _draw(figure, points[rows], [groups[int(at)] for at in rows], marks or {}, by, key)
        else:
            nothing(figure, "there is no vector to show")

    return png(draw, 8, 5.2)


def _draw(
    figure: "Figure",
    points: np.ndarray,
    groups: Sequence[str],
    marks: Mapping[str, np.ndarray],
    by: str,
    key: str,
) -> None:
    ax = figure.add_subplot()
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("#dde4e0")
    counts = {name: groups.count(name) for name in sorted(set(groups))}
    order = sorted(counts, key=lambda name: (-counts[name], name))
    of = np.array([order.index(name) for name in groups])
    handles, names = [], []
    rest = np.flatnonzero(of >= GROUPS)
    style = {"s": 22 if len(points) < 500 else 11, "linewidths": 0.3, "edgecolors": "white"}
    drawn = [(of == at, name, COLOURS[at], MARKERS[at]) for at, name in enumerate(order[:GROUPS])]
    if len(rest):
        others = f"{len(order) - GROUPS:,} others"
        drawn = [*drawn, (of >= GROUPS, others, _OTHERS, ".")]
    for there, name, colour, marker in reversed(drawn):  # the largest last would hide the others
        handles.insert(0, ax.scatter(*points[there].T, c=colour, marker=marker, **style))
        names.insert(0, f"{fonts.written(name, _LABEL)} ({int(there.sum()):,})")
    for (name, places), (marker, colour) in zip(marks.items(), _ALSO, strict=False):
        if len(places):
            handles.append(ax.scatter(*places.T, c=colour, marker=marker, s=45, linewidths=1.5))
            names.append(f"{fonts.written(name, _LABEL)} ({len(places):,})")
    # What begins with `_` would be left out: names come in when the legend is made.
    legend = ax.legend(
        handles, [str(at) for at in range(len(handles))], title="by" if by else None,
        loc="upper left", bbox_to_anchor=(1.0, 1.0), alignment="left",
        frameon=False, fontsize=8.5, markerscale=1.4,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, color=INK, **fonts.props())
    if by:
        legend.get_title().set(text=fonts.written(by, _LABEL), color=SOFT, **fonts.props())
    if key:
        ax.set_title(fonts.written(key, 110), loc="left", **fonts.props(color=SOFT, fontsize=9))
