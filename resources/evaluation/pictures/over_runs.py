"""How quality went from run to run."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from resources.evaluation.measures import Interval
from resources.evaluation.pictures import fonts
from resources.evaluation.pictures.drawing import (
    COLOURS,
    INK,
    MARKERS,
    SOFT,
    axes,
    nothing,
    png,
    spread,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUNS = 100
"""The last so many are shown."""

_TICKS, _LABEL = 8, 24
_LINES = len(COLOURS)


def over_runs(
    moments: Sequence[datetime],
    measures: Mapping[str, Sequence[Interval | float | None]],
    query_sets: Sequence[str] = (),
) -> bytes:
    """A PNG: a line a measure, with its intervals.

    Args:
        moments: Of the runs, the oldest first.
        measures: What each run measured, by name; None where it did not. The first ten are drawn.
        query_sets: Digest of the query set of each run: a line ends where another set begins, whose
            figures say nothing of what was before.

    Raises:
        EvaluationError: Matplotlib is not installed.
    """
    moments, sets = moments[-RUNS:], list(query_sets[-RUNS:]) or [""] * len(moments[-RUNS:])
    known = {name: _intervals(values[-RUNS:]) for name, values in measures.items()}
    lines = {name: values for name, values in known.items() if any(values)}

    def draw(figure: "Figure") -> None:
        if not moments or not lines:
            nothing(figure, "no run has measured anything yet")
            return
        _draw(figure, moments, dict(list(lines.items())[:_LINES]), sets)

    return png(draw, 8, 4.2)


def _intervals(values: Sequence[Interval | float | None]) -> list[Interval | None]:
    return [
        value if value is None or isinstance(value, Interval) else Interval(value, value, value)
        for value in values
    ]


def _draw(
    figure: "Figure",
    moments: Sequence[datetime],
    lines: Mapping[str, Sequence[Interval | None]],
    sets: Sequence[str],
) -> None:
    key = "bands: 95 % intervals" + ("; upright: another query set" if len(set(sets)) > 1 else "")
    ax = axes(figure, "runs", "", key)
    ax.grid(False, axis="x")
    count = len(moments)
    ax.set_xlim(-0.5, count - 0.5)
    _ticks(ax, moments)
    for at in range(1, count):
        if sets[at] != sets[at - 1]:
            ax.axvline(at - 0.5, color=SOFT, linewidth=1, linestyle=(0, (3, 3)))
    ends: dict[str, float] = {}
    for place, (name, values) in enumerate(lines.items()):
        for piece in _pieces(values, sets):
            means = [values[at].mean for at in piece]  # type: ignore[union-attr]
            low = [values[at].low for at in piece]  # type: ignore[union-attr]
            high = [values[at].high for at in piece]  # type: ignore[union-attr]
            ax.plot(
                piece, means, color=COLOURS[place], linewidth=1.6, markeredgecolor="white",
                marker=MARKERS[place] if count <= 40 else "", markersize=6,
            )  # fmt: skip
            if len(piece) > 1:
                ax.fill_between(piece, low, high, color=COLOURS[place], alpha=0.12, linewidth=0)
            else:
                ax.plot(piece * 2, [low[0], high[0]], color=COLOURS[place], alpha=0.4)
            ends[name] = means[-1]
    _names(figure, ax, ends)


def _pieces(values: Sequence[Interval | None], sets: Sequence[str]) -> list[list[int]]:
    """Runs that measured, without a break, on one query set."""
    found: list[list[int]] = []
    for at, value in enumerate(values):
        if value is None:
            continue
        if found and found[-1][-1] == at - 1 and sets[at] == sets[at - 1]:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def _ticks(ax: "Axes", moments: Sequence[datetime]) -> None:
    years = len({moment.year for moment in moments}) > 1
    step = max(1, -(-len(moments) // (_TICKS - 2 * years)))
    shown = range((len(moments) - 1) % step, len(moments), step)  # the last run has one
    days = len({moment.date() for moment in moments}) == len(moments)
    form = ("%Y-%m-%d" if years else "%m-%d") + ("" if days else "\n%H:%M")
    ax.set_xticks(list(shown), [moments[at].strftime(form) for at in shown], **fonts.props())


def _names(figure: "Figure", ax: "Axes", ends: Mapping[str, float]) -> None:
    """On the right, each beside the end of its line, moved where two would touch."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    inches = figure.get_figheight() - 1.2
    apart = (high - low) * 0.15 / inches
    places = spread(list(ends.values()), apart, low, high)
    for at, (name, value) in enumerate(ends.items()):
        text = f"{fonts.written(name, _LABEL)} {value:.3f}"
        side = {"transform": ax.get_yaxis_transform(), "clip_on": False, "color": COLOURS[at]}
        ax.plot([1, 1.02], [value, places[at]], linewidth=0.8, **side)
        ax.plot(1.03, places[at], marker=MARKERS[at], markersize=6, **side)
        label = fonts.props(color=INK, fontsize=9, va="center")
        ax.text(1.045, places[at], text, transform=ax.get_yaxis_transform(), **label)
