"""Files of Dagster's history, where that is SQLite: what removing runs leaves, and shrinking them.

Dagster keeps a file for the events of each run, and empties it without removing it. Another
database (Postgres) reuses its room by itself: all here does nothing then.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import dagster as dg

SETTLED_SECONDS = 3600
"""Files that young may be of a run which another process is recording just now."""
LARGEST = 512 << 20
"""Bytes in use of a database that is packed: meanwhile others wait to write, Dagster for 30 s."""
WORTH_IT = 0.1
"""Share of a file that must be free before it is packed."""
PATIENCE_SECONDS = 5.0

_ENDINGS = ("", "-wal", "-shm", "-journal")


def _events(instance: dg.DagsterInstance) -> Path | None:
    """The folder with a file for each run; None where the history is no such folder."""
    from dagster._core.storage.event_log import SqliteEventLogStorage

    storage = instance.event_log_storage
    if not isinstance(storage, SqliteEventLogStorage):
        return None
    return Path(storage.path_for_shard("index")).parent


def _databases(instance: dg.DagsterInstance) -> list[Path]:
    """Those that all runs share."""
    events = _events(instance)
    if events is None:
        return []
    history = events.parent
    shared = [events / "index.db", history / "runs.db", history.parent / "schedules/schedules.db"]
    return [path for path in shared if path.is_file()]


def size(instance: dg.DagsterInstance) -> int:
    """Bytes of all that belongs to the history, logs of the runs included."""
    events = _events(instance)
    if events is None:
        return 0
    folders = [events.parent, Path(instance.storage_directory())]
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):
                    total += os.stat(os.path.join(parent, name)).st_size
    return total


def remove_file(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove the file of a run that is deleted."""
    events = _events(instance)
    if events is not None:
        for ending in _ENDINGS:
            with suppress(OSError):  # not there; or open, where open files cannot be removed
                (events / f"{run_id}.db{ending}").unlink()


def torn(instance: dg.DagsterInstance) -> list[str]:
    """Runs that are deleted, whose file is still there."""
    events = _events(instance)
    if events is None:
        return []
    limit = time.time() - SETTLED_SECONDS
    found = []
    for file in events.glob("*.db"):
        with suppress(OSError):
            if file.stem != "index" and file.stat().st_mtime < limit:
                found.append(file.stem)
    known = set(instance.get_run_ids()) if found else set()
    return [run_id for run_id in found if run_id not in known]


def shrink(instance: dg.DagsterInstance) -> Iterator[str]:
    """Give free room of the shared databases back; says which stay as large as they are, and why.

    Others may have them open, and go on reading meanwhile.
    """
    for path in _databases(instance):
        why_not = _pack(path)
        if why_not:
            yield f"{path} stays as large as it is: {why_not}; what is free in it is used again"


def _pack(path: Path) -> str:
    try:
        with closing(sqlite3.connect(path, PATIENCE_SECONDS, isolation_level=None)) as database:
            pages, free, width = (
                database.execute(f"PRAGMA {what}").fetchone()[0]
                for what in ("page_count", "freelist_count", "page_size")
            )
            if free < pages * WORTH_IT:
                return ""
            if (pages - free) * width > LARGEST:
                return "to pack so much would keep others waiting"
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:  # held by somebody, or no room for the copy
        return str(error)
    return ""
