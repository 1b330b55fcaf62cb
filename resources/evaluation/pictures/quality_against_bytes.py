"""What quality costs: each format, dimension or model by its bytes and by how good it finds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from resources.evaluation.measures import Interval
from resources.evaluation.pictures import fonts
from resources.evaluation.pictures.drawing import ACCENT, INK, LABEL, SOFT, axes, nothing, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PLACES = [
    (across * far, up * far)
    for far in (1.0, 2.0, 3.0)
    for across, up in ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
]
"""Where a label may stand, in heights of its line from its point."""


_KEY = "diamond: what the pipeline has now; green: nothing smaller is better"


@dataclass(frozen=True)
class Point:
    """One that was measured.

    Attributes:
        label: What it is, such as `int8, 512 dimensions`.
        bytes: Of a vector.
        quality: Of one measure.
        chosen: It is what the pipeline has now.
    """

    label: str
    bytes: float
    quality: Interval
    chosen: bool = False


def quality_against_bytes(points: Sequence[Point], measure: str = "ndcg@10") -> bytes:
    """A PNG; a line leads along those that nothing smaller is better than.

    Raises:
        EvaluationError: Matplotlib is not installed.
    """

    def draw(figure: "Figure") -> None:
        if not points:
            nothing(figure, "nothing was measured yet")
            return
        _draw(figure, points, measure)

    return png(draw, 8, 4.6)


def _draw(figure: "Figure", points: Sequence[Point], measure: str) -> None:
    known = any(each.quality.high > each.quality.low for each in points)
    key = _KEY + ("; bars: 95 % intervals" if known else "")
    ax = axes(figure, "bytes per vector", measure, key)
    ax.set_xscale("log", base=2)
    sizes = sorted({point.bytes for point in points})
    least, most = sizes[0], sizes[-1]
    ax.set_xlim(least / 1.5, most * (1.5 if most > least else 2))
    _ticks(ax, sizes)
    front = _front(points)
    if len(front) > 1:
        xs, ys = [each.bytes for each in front], [each.quality.mean for each in front]
        ax.plot(xs, ys, color=ACCENT, linewidth=1.2, alpha=0.5, zorder=1)
    for point in points:
        ax.plot(
            [point.bytes] * 2, [point.quality.low, point.quality.high],
            color=SOFT, linewidth=1, alpha=0.45, zorder=2,
        )  # fmt: skip
        ax.plot(
            point.bytes, point.quality.mean, zorder=4 if point.chosen else 3,
            marker="D" if point.chosen else "o", markersize=8 if point.chosen else 6,
            color=ACCENT if point in front else SOFT, markeredgecolor="white",
        )  # fmt: skip
    # The most telling are named first: where there is room for no more, the others stay without.
    order = sorted(points, key=lambda each: (not each.chosen, each not in front, each.bytes))
    unnamed = _name(figure, ax, order)
    if unnamed:
        said = fonts.props(color=SOFT, fontsize=8, ha="right", va="bottom")
        ax.text(1, 0, f"{unnamed} more without room for a name", transform=ax.transAxes, **said)


def _front(points: Sequence[Point]) -> list[Point]:
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (each.bytes, -each.quality.mean, each.label)):
        if not found or point.quality.mean > found[-1].quality.mean:
            found.append(point)
    return found


def _ticks(ax: "Axes", sizes: Sequence[float]) -> None:
    """At the sizes themselves, those that would touch the one before left out."""
    from matplotlib.ticker import NullLocator

    shown: list[float] = []
    wide = max(sizes[-1] / sizes[0], 2.0)
    for size in sizes:
        if not shown or size / shown[-1] >= wide ** (1 / 9):
            shown.append(size)
    ax.set_xticks(shown, [f"{size:,.0f}" for size in shown], **fonts.props())
    ax.xaxis.set_minor_locator(NullLocator())


def _name(figure: "Figure", ax: "Axes", points: Sequence[Point]) -> int:
    """Labels where they cover no other label and no point; how many found no such place."""
    from matplotlib.transforms import Bbox

    figure.canvas.draw()  # the layout is made when it is drawn
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    inside = ax.get_window_extent(renderer)
    room = figure.bbox
    dots = [ax.transData.transform((each.bytes, each.quality.mean)) for each in points]
    around = figure.dpi / 14
    taken = [Bbox.from_bounds(x - around, y - around, 2 * around, 2 * around) for x, y in dots]
    bottom = inside.y0 + 2
    unnamed = 0
    for point, (x, y) in zip(points, dots, strict=True):
        style = fonts.props(
            color=INK, fontsize=8.5, fontweight="bold" if point.chosen else "normal"
        )
        label = fonts.written(point.label, LABEL)
        measured = ax.text(point.bytes, point.quality.mean, label, **style)
        size = measured.get_window_extent(renderer)
        measured.remove()
        for across, up in _PLACES:
            left = x + across * size.height - (0, size.width / 2, size.width)[_side(across)]
            low = y + up * size.height * 1.1 - size.height / 2
            place = Bbox.from_bounds(left, low, size.width, size.height)
            within = inside.x0 <= left and place.x1 <= room.x1 and bottom <= low
            if not within or place.y1 > inside.y1:
                continue
            if not any(place.overlaps(other) for other in taken):
                break
        else:
            unnamed += 1
            continue
        taken.append(place)
        line = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 4}
        far = max(abs(across), abs(up)) > 1
        ax.annotate(
            label,
            (point.bytes, point.quality.mean),
            xytext=(left - x, low - y),
            textcoords="offset pixels",
            arrowprops={**line, "relpos": (_side(across) / 2, _side(up) / 2)} if far else None,
            annotation_clip=False,
            in_layout=False,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.5},
            **style,
        )
    return unnamed


def _side(direction: float) -> int:
    """Of the label, which is nearest to its point: 0 for its beginning, 1, 2 for its end."""
    return 0 if direction > 0 else 2 if direction < 0 else 1
