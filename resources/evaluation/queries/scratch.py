"""What has to be remembered of a million queries, to find one that stands twice."""

import sqlite3

from resources.core.errors import EvaluationError
from resources.core.working_file import WorkingFile

_CACHE_KIB = 16 * 1024


def scratch(*tables: str) -> WorkingFile:
    """A file with these tables."""
    return WorkingFile("the judged queries'", ";".join(tables), EvaluationError, _CACHE_KIB)


SEEN = "CREATE TABLE seen (id TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID"


def seen_before(opened: sqlite3.Connection, name: str, place: str) -> str | None:
    """Where a name was seen first; None where it is seen for the first time."""
    added = opened.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, place)).rowcount
    if added:
        return None
    (first,) = opened.execute("SELECT place FROM seen WHERE id = ?", (name,)).fetchone()
    return first
