"""Texts that more than one shard needs: they are embedded once, by whichever comes to them first.

So are those whose only vector stands in the store: it may be a chunk's of another shard, which is
about to change, and they are copied before any shard changes anything.
"""

import sqlite3

from resources.core.shards import SHARED

_PENDING = "kind IN ('vector', 'copy', 'cut')"
_COLUMNS = "kind, batch, size, text_hash, id, source_id, fields_hash, text"


def index_by_shard(db: sqlite3.Connection) -> None:
    """Find the rows of a shard without reading those of the others."""
    db.execute("CREATE INDEX work_shard ON work (shard, kind)")
    db.execute("CREATE INDEX work_shard_batch ON work (shard, batch) WHERE kind = 'reuse'")


def share(db: sqlite3.Connection) -> None:
    """Give what has to be done once rows of its own; the chunks take their vectors from there."""
    db.execute("CREATE TABLE shared (text_hash TEXT PRIMARY KEY, first INTEGER) WITHOUT ROWID")
    db.execute(
        f"INSERT INTO shared SELECT text_hash, min(seq) FROM work WHERE {_PENDING} "
        "GROUP BY text_hash HAVING count(DISTINCT shard) > 1 OR max(kind = 'copy')"
    )
    # What a chunk carries is stored by its own shard.
    db.execute(
        f"INSERT INTO work (shard, why, fields, {_COLUMNS}) SELECT {SHARED}, '', '{{}}', "
        f"{', '.join(f'work.{name.strip()}' for name in _COLUMNS.split(','))} "
        "FROM shared JOIN work ON work.seq = shared.first ORDER BY shared.first"
    )
    db.execute(
        f"UPDATE work SET kind = 'repeat' WHERE shard <> {SHARED} AND {_PENDING} "
        "AND text_hash IN (SELECT text_hash FROM shared)"
    )
