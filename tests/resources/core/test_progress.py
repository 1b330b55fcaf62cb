import itertools

import pytest

from resources.core import progress
from resources.core.progress import Progress, doing, duration, listener, size, voiced
from tests.machines import wait_for


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


def test_what_is_done_within_a_batch_counts_at_once_and_not_twice(lines):
    it = Progress(lines.append, "chunks embedded", 100)
    it.within(20)
    it.within(20)
    assert lines[-1].startswith("40 of 100 chunks embedded (40%), ")
    it.advance(50)  # the batch of those 40, and ten that were not told
    it.within(10)
    assert lines[-1].startswith("60 of 100 chunks embedded (60%), ")


@pytest.fixture
def impatient(monkeypatch) -> None:
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.1)


def wait_for_line(said: list[str], beginning: str) -> None:
    wait_for(lambda: any(line.startswith(beginning) for line in list(said)), beginning)


def test_what_lasts_is_said_to_go_on(impatient):
    said: list[str] = []
    with voiced(said.append, "at work on the index") as log:
        log("begun")
        wait_for_line(said, "still at work on the index, ")
        with doing("loading the model"):
            wait_for_line(said, "still loading the model, ")
        it = Progress(log, "vectors written", 10)
        wait_for_line(said, "vectors written: none of 10 in ")
        it.advance(4)
        wait_for_line(said, "4 of 10 vectors written (40%), ")
        it.finish()
    begun, at_work, *rest = said
    assert begun == "begun"
    assert at_work.startswith("still at work on the index, ")
    assert "loading the model …" in rest
    assert any(line.startswith("loading the model took ") for line in rest)


def test_whoever_is_patient_hears_only_of_what_lasts(impatient):
    said: list[str] = []
    with voiced(said.append, patient=True):
        with doing("loading the model"):
            pass
        assert said == []
        with doing("loading another"):
            wait_for_line(said, "still loading another")
    assert {line.partition(",")[0] for line in said} == {"still loading another"}


def test_where_nobody_listens_nothing_is_kept():
    with doing("anything"):
        listener()("unheard")
    Progress(print, "never finished", 3)
    assert not progress._voice.get(progress._NOBODY)._doing


@pytest.mark.parametrize(
    ("count", "text"),
    [(812, "1 kB"), (91e6, "91 MB"), (1.34e9, "1.3 GB"), (8.54e6, "8.5 MB"), (4.096e12, "4.1 TB")],
)
def test_sizes_read_well(count, text):
    assert size(count) == text
