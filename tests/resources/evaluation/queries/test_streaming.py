"""Queries are read and written one at a time, however many there are."""

import gc
import tracemalloc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pymongo.database import Database

from resources.evaluation.export import FORMATS, Format, export
from resources.evaluation.judged import JudgedQuery, Judgement, digest
from resources.evaluation.queries.imported import ImportedSet
from tests.resources.evaluation.queries.test_imported import Given
from tests.resources.evaluation.test_export import opened


def queries(count: int, filling: str = "") -> Iterator[JudgedQuery]:
    for number in range(count):
        judged = [Judgement(f"document-{number}"), Judgement(number, 2)]
        yield JudgedQuery(f"q{number}", f"{number}: what? {filling}", judged)


def alive() -> int:
    return sum(type(each) is JudgedQuery for each in gc.get_objects())


def most_alive(found: Iterator[JudgedQuery], every: int = 400) -> tuple[int, int]:
    """How many queries there are, and how many were there at once."""
    before, count, most = alive(), 0, 0
    for _ in found:
        count += 1
        if count % every == 1:
            most = max(most, alive() - before)
    return count, most


@pytest.mark.parametrize("to", FORMATS)
def test_of_a_file_there_are_few_at_once(tmp_path: Path, to: Format):
    paths, count = export(queries(2_000), tmp_path / f"set.{to}", to)
    found, most = most_alive(iter(opened(paths)))
    assert (found, count) == (2_000, 2_000)
    assert most < 10


def test_of_an_imported_set_there_is_a_window(database: Database):
    kept = ImportedSet(database, "p")
    before, most = alive(), 0

    def counted() -> Iterator[JudgedQuery]:
        nonlocal most
        for number, query in enumerate(queries(3_000)):
            if number % 1_000 == 999:
                most = max(most, alive() - before)
            yield query

    assert kept.replace(Given(counted), "many", replace=False).queries == 3_000
    assert most <= 1_010  # one that is filled, and one that was written
    assert most_alive(iter(kept)) < (3_001, 10)


@pytest.mark.proof
@pytest.mark.parametrize("to", FORMATS)
def test_ten_thousand_long_ones_are_never_all_in_memory(tmp_path: Path, to: Format):
    made = partial(queries, 10_000, "of what nobody has asked before, " * 20)  # 7 MB
    expected = digest(made())
    tracemalloc.start()
    try:
        paths, count = export(made(), tmp_path / f"set.{to}", to)
        found = digest(iter(opened(paths)))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (count, found) == (10_000, expected)
    assert most < 4 * 1024**2
