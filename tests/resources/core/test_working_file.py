"""A file for work in hand: on disk, closed with its context, and a full disk is one sentence."""

import sqlite3

import pytest

from resources.core.errors import EmbeddingsError, EvaluationError, SourceError
from resources.core.working_file import WorkingFile

TABLE = "CREATE TABLE kept (text TEXT)"


def overfill(file: WorkingFile) -> None:
    with file:
        file.db.execute("PRAGMA max_page_count = 20")
        file.db.executemany("INSERT INTO kept VALUES (?)", (("text " * 1_000,) for _ in range(100)))


@pytest.mark.parametrize("error", [SourceError, EvaluationError])
def test_no_room_is_one_sentence(error: type[EmbeddingsError]):
    file = WorkingFile("the plan's", TABLE, error)
    said = r"^the plan's working file .*disk is full.*SQLITE_TMPDIR"
    with pytest.raises(error, match=said):
        overfill(file)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        file.db.execute("SELECT 1")


def test_another_error_stays_as_it_is():
    with pytest.raises(ValueError, match="something else"), WorkingFile("the plan's", TABLE):
        raise ValueError("something else")
