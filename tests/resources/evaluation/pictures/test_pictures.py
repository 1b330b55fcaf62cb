"""Every picture: small, the same twice, whatever its texts and numbers are."""

import io
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resources.core.errors import EvaluationError
from resources.evaluation.measures import Interval
from resources.evaluation.pictures import fonts
from resources.evaluation.pictures import quality_against_bytes as module
from resources.evaluation.pictures.by_segment import Segment, by_segment
from resources.evaluation.pictures.drawing import LARGEST, spread
from resources.evaluation.pictures.landscape import landscape
from resources.evaluation.pictures.over_runs import over_runs
from resources.evaluation.pictures.quality_against_bytes import Point, quality_against_bytes

PIECES = [
    "$x$", "$\\frac{1}{", "$", "_", "_hidden", "\\", "{", "}", "^", "%", "&", "#", "\x00", "\ud800",
    "\u202e", "\n", "日本語", "🚲", "مرحبا", "👨‍👩‍👧", "ﷺ", "e\u0301", "\ufe0f",
    "<b>", "word " * 30,
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=4).map("".join)
intervals = st.tuples(*[st.floats(0, 1)] * 3).map(
    lambda three: Interval(sorted(three)[1], min(three), max(three))
)
points = st.lists(st.builds(Point, texts, st.floats(1, 1e6), intervals, st.booleans()), max_size=8)
START = datetime(2026, 12, 20, tzinfo=UTC)


@st.composite
def drawings(draw: st.DrawFn) -> Callable[[], bytes]:
    which = draw(st.integers(0, 3))
    if which == 0:
        chosen = draw(points)
        return lambda: quality_against_bytes(chosen)
    if which == 1:
        count, step = draw(st.integers(0, 50)), timedelta(hours=draw(st.integers(0, 40)))
        values = st.lists(intervals | st.none() | st.floats(0, 1), min_size=count, max_size=count)
        measures = draw(st.dictionaries(texts, values, max_size=3))
        sets = draw(st.lists(st.sampled_from("ab"), min_size=count, max_size=count))
        return lambda: over_runs([START + step * at for at in range(count)], measures, sets)
    if which == 2:
        rows = draw(st.lists(st.builds(Segment, texts, st.integers(0), intervals), max_size=30))
        return lambda: by_segment(rows, overall=0.5)
    places = draw(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), max_size=8))
    groups = draw(st.lists(texts, min_size=len(places), max_size=len(places)))
    shape = np.array(places, np.float32).reshape(-1, 2)
    return lambda: landscape(shape, groups, {draw_name: shape[:2]}, by=draw_name)


draw_name = "_marks $x$"


@given(drawings())
@settings(deadline=None, max_examples=6)
def test_whatever_is_drawn_is_a_small_picture(draw: Callable[[], bytes]):
    made = draw()
    decoded(made)
    assert len(made) <= LARGEST


def decoded(png: bytes) -> np.ndarray:
    """Its pixels; nothing but what makes them is in the file."""
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.format == "PNG"
    assert image.info.keys() <= {"transparency"}
    return np.asarray(image.convert("RGB"))


def of(mean: float) -> Interval:
    return Interval(mean, mean - 0.05, mean + 0.05)


def large() -> list[Callable[[], bytes]]:
    rng = np.random.default_rng(1)
    candidates = [Point(f"candidate {at}", 96 * 1.2**at, of(rng.random())) for at in range(40)]
    moments = [START + timedelta(hours=at) for at in range(300)]
    lines = {f"measure {at}": [of(x) for x in rng.random(300)] for at in range(12)}
    places = rng.standard_normal((5_000, 2))
    groups = [f"group {at}" for at in rng.integers(0, 300, 5_000)]
    segments = [Segment(f"segment {at}", at, of(rng.random())) for at in range(300)]
    return [
        lambda: quality_against_bytes(candidates),
        lambda: over_runs(moments, lines),
        lambda: landscape(places, groups, {"marks": places[:900]}),
        lambda: by_segment(segments),
    ]


@pytest.mark.parametrize("at", range(4), ids=["bytes", "runs", "landscape", "segments"])
def test_the_most_that_is_drawn_is_small(at: int):
    made = large()[at]()
    assert len(made) <= LARGEST
    pixels = decoded(made).astype(np.int32) @ (1 << 16, 1 << 8, 1)
    assert len(np.unique(pixels)) > 3


def test_a_picture_is_the_same_in_any_thread():
    places = np.random.default_rng(1).standard_normal((100, 2))
    made: list[bytes] = []
    draw = lambda: made.append(landscape(places, ["a", "b"] * 50, by="side"))  # noqa: E731
    threads = [threading.Thread(target=draw) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    draw()
    assert made[0] == made[1] == made[2]


def test_names_of_points_cover_neither_each_other_nor_a_point():
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    rng = np.random.default_rng(3)
    many = [Point(f"candidate {at}", 96 * 1.2 ** (at % 9), of(rng.random())) for at in range(60)]
    figure = Figure(figsize=(8, 4.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure).draw()
    module._draw(figure, many, "ndcg@10")
    figure.canvas.draw()
    (ax,) = figure.axes
    names = [each for each in ax.texts if each.get_text().startswith("candidate")]
    boxes = [Text.get_window_extent(each) for each in names]
    said = [each.get_text() for each in ax.texts if "without room" in each.get_text()]
    assert len(boxes) > 5
    assert said == [f"{60 - len(boxes)} more without room for a name"]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    dots = [ax.transData.transform((each.bytes, each.quality.mean)) for each in many]
    assert not any(box.contains(*dot) for box in boxes for dot in dots)


def test_a_point_more_is_another_picture():
    one, two = [Point("a", 100, of(0.5))], [Point("a", 100, of(0.5)), Point("b", 200, of(0.6))]
    assert quality_against_bytes(one) != quality_against_bytes(two)
    assert quality_against_bytes([Point("$a$", 100, of(0.5))]) != quality_against_bytes(one)


@given(texts)
@settings(deadline=None)
def test_a_text_has_only_signs_that_there_is_a_font_for(text: str):
    shown = fonts.written(text, 20)
    assert len(shown) <= 20
    assert all(fonts._has(each) for each in shown)


def test_a_text_is_what_it_was():
    assert fonts.written("Über $x_1$ é <b>", 80) == "Über $x_1$ é <b>"
    assert fonts.written("bike 🚲\ufe0f", 80) == f"bike {fonts.MISSING}"


@given(st.lists(st.floats(0, 1), max_size=12), st.floats(0, 0.3))
def test_labels_are_spread_as_far_as_there_is_room(places: list[float], apart: float):
    found = spread(places, apart, 0, 1)
    assert len(found) == len(places)
    room = min(apart, 1 / max(1, len(places) - 1))
    ordered = sorted(found)
    assert all(b - a >= room - 1e-9 for a, b in pairwise(ordered))
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in found)
    for a, b in zip(places, found, strict=True):
        for c, d in zip(places, found, strict=True):
            assert a >= c or b <= d + 1e-9  # none has changed its place with another
    if all(b - a >= apart for a, b in pairwise(sorted(places))):
        assert found == pytest.approx(places)


def test_without_matplotlib_it_is_said_how_to_have_it(monkeypatch: pytest.MonkeyPatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EvaluationError, match=r"\[evaluation\]"):
        quality_against_bytes([])
