import itertools

import pytest

from resources.core import progress
from resources.core.progress import Progress, duration


@pytest.fixture
def lines(monkeypatch) -> list[str]:
    """What is logged while a clock moves three seconds with every look at it."""
    clock = itertools.count(0.0, 3.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    return []


def test_long_work_says_how_far_how_fast_and_how_long(lines):
    it = Progress(lines.append, "chunks embedded", 40)
    for _ in range(4):
        it.advance(10)
    it.finish()
    assert lines[0].startswith("20 of 40 chunks embedded (50%), ")
    assert "/s, about " in lines[0]
    assert lines[-1].startswith("40 chunks embedded in ")


def test_work_of_unknown_size_says_what_it_can(lines):
    it = Progress(lines.append, "records read")
    for _ in range(4):
        it.advance(1000)
    assert lines[0].startswith("2,000 records read, ")


def test_short_work_is_silent():
    said: list[str] = []
    it = Progress(said.append, "chunks embedded", 10)
    it.advance(10)
    it.finish()
    assert said == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (12.4, "12 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text
