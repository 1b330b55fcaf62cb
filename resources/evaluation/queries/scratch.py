"""What has to be remembered of a million queries: in a file that is gone when it is closed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

_PRAGMAS = (
    "PRAGMA journal_mode = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA cache_size = -16384",
    "PRAGMA temp_store = FILE",
)


@contextmanager
def scratch(*tables: str) -> Iterator[sqlite3.Connection]:
    """A database of these tables; SQLite keeps 16 MiB of it in memory, the rest on disk."""
    # Whoever reads a stream ahead does so in another thread.
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as opened:
        for statement in (*_PRAGMAS, *tables):
            opened.execute(statement)
        opened.execute("BEGIN")
        yield opened


SEEN = "CREATE TABLE seen (id TEXT PRIMARY KEY, place TEXT) WITHOUT ROWID"


def seen_before(opened: sqlite3.Connection, name: str, place: str) -> str | None:
    """Where a name was seen first; None where it is seen for the first time."""
    added = opened.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (name, place)).rowcount
    if added:
        return None
    (first,) = opened.execute("SELECT place FROM seen WHERE id = ?", (name,)).fetchone()
    return first
