"""Pictures as PNG: small, the same bytes for the same figures, drawn in any thread.

No `pyplot`: it keeps figures for the whole process.
"""

import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from resources.core.errors import EvaluationError
from resources.evaluation.pictures import fonts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST = 60_000
"""Bytes of a picture: it is kept with the run that it belongs to, and shown in a page."""

INK, SOFT, LINE, ACCENT = "#15211c", "#5b6b64", "#dde4e0", "#00684a"
COLOURS = (
    "#332288", "#CC6677", "#117733", "#88CCEE", "#882255",
    "#DDCC77", "#44AA99", "#AA4499", "#999933", "#E69F00",
)  # fmt: skip
"""To be told apart by those who see fewer colours too (Paul Tol's "muted", and one of Okabe's)."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
"""One a colour: who sees no colours goes by them."""

LABEL = 36
"""Characters of a label."""

_TRIES = ((110, 64), (100, 32), (80, 16), (60, 8), (40, 4))
"""Dots per inch and colours, until the picture is small enough; eight inches of the first fit into
the dialog in which the Dagster UI shows a picture."""


def png(draw: Callable[["Figure"], None], width: float, height: float) -> bytes:
    """A figure of so many inches, in at most `LARGEST` bytes.

    Args:
        draw: Draws into it; asked again where the picture has to be smaller.
        width: Of 100 points each, as on a screen.
        height: Likewise.

    Raises:
        EvaluationError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from PIL import Image
    except ImportError as error:
        raise EvaluationError(
            "pictures need matplotlib, which is not installed: `pip install "
            "'mongodb-embedding-pipelines[evaluation]'`, in a checkout "
            "`.venv/bin/pip install -c constraints.txt -e '.[evaluation]'`"
        ) from error
    made = b""
    for dots, colours in _TRIES:
        figure = Figure(figsize=(width, height), dpi=dots, facecolor="white", layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()
        image = Image.fromarray(_opaque(canvas.buffer_rgba()))
        # A picture of lines and dots has few colours; a palette is a third of the size.
        image = image.quantize(colours, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        made = file.getvalue()
        if len(made) <= LARGEST:
            break
    return made


def _opaque(buffer: Any) -> Any:
    import numpy as np

    return np.asarray(buffer)[:, :, :3].copy()


def axes(figure: "Figure", x: str, y: str, key: str = "") -> "Axes":
    """With the two lines that matter, and names.

    Args:
        figure: To draw into.
        x: Name of what goes across.
        y: Of what goes up.
        key: How the picture is read.
    """
    found = figure.add_subplot()
    for side in ("top", "right"):
        found.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        found.spines[side].set_color(SOFT)
    found.grid(color=LINE, linewidth=0.8)
    found.set_axisbelow(True)
    found.tick_params(colors=SOFT, labelsize=9)
    found.set_xlabel(fonts.written(x, 80), **fonts.props(color=INK, fontsize=10))
    found.set_ylabel(fonts.written(y, 60), **fonts.props(color=INK, fontsize=10))
    if key:
        found.set_title(fonts.written(key, 110), loc="left", **fonts.props(color=SOFT, fontsize=9))
    return found


def nothing(figure: "Figure", why: str) -> None:
    """What stands where there is nothing to draw."""
    style = fonts.props(color=SOFT, fontsize=11, ha="center", va="center")
    figure.text(0.5, 0.5, fonts.written(why, 120), **style)


def spread(places: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """The places, moved as little as needed to be so far apart, within bounds where that goes.

    Args:
        places: In any order; they keep it.
        apart: The least distance.
        low: No place is below; too many of them are closer to each other instead.
        high: Likewise.
    """
    if not places:
        return []
    if len(places) > 1:
        apart = min(apart, (high - low) / (len(places) - 1))
    order = sorted(range(len(places)), key=lambda at: (places[at], at))
    moved = [min(max(places[at], low), high) for at in order]
    for at in range(1, len(moved)):
        moved[at] = max(moved[at], moved[at - 1] + apart)
    moved[-1] = min(moved[-1], high)
    for at in range(len(moved) - 2, -1, -1):
        moved[at] = min(moved[at], moved[at + 1] - apart)
    found = [0.0] * len(places)
    for at, place in zip(order, moved, strict=True):
        found[at] = place
    return found
