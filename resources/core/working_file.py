"""What a piece of work has to remember, in a file that is gone when it is closed."""

import sqlite3
from types import TracebackType
from typing import Self

from resources.core.errors import EmbeddingsError, SourceError


class WorkingFile:
    """A database of some tables: SQLite keeps little of it in memory, the rest on disk.

    Used as a context, it is closed at the end, and a disk that is full is said in one sentence.

    Args:
        what: Whose file, for people: `the plan's`.
        schema: SQL that makes the tables.
        error: What is raised where there is no room.
        cache_kib: That SQLite may keep in memory; its own default where None.

    Attributes:
        db: The database, within a transaction; any thread may use it, one at a time.
    """

    def __init__(
        self,
        what: str,
        schema: str,
        error: type[EmbeddingsError] = SourceError,
        cache_kib: int | None = None,
    ) -> None:
        self._what, self._error = what, error
        # Without a name SQLite takes a file that goes with the connection, or with the process.
        self.db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        if cache_kib is not None:
            self.db.execute(f"PRAGMA cache_size = -{cache_kib}")
        # Work that dies with its process is begun anew: durability would only cost time.
        pragmas = "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = FILE;"
        self.db.executescript(f"{pragmas} {schema}; BEGIN;")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.db.close()
        if isinstance(error, sqlite3.OperationalError):
            raise self._error(
                f"{self._what} working file cannot be written ({error}): make room in the system's "
                "folder for temporary files, or name another as SQLITE_TMPDIR"
            ) from error
