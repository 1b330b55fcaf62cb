"""What a run has to do, chunk by chunk, in a temporary SQLite file.

Memory is bounded by the window, whatever the size of the corpus and of its records.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

from assets.work.sharing import index_by_shard, share
from resources.core.chunks import Chunk, size_of
from resources.core.keys import decode, encode
from resources.core.windows import sized_windows
from resources.core.working_file import WorkingFile

# What may be long stands last in a row: the rest is read without it.
_SCHEMA = """
    CREATE TABLE seen (id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE seen_source (id TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE work (
        seq INTEGER PRIMARY KEY, shard INTEGER, kind TEXT, why TEXT, batch TEXT,
        size INTEGER, text_hash TEXT, id TEXT, source_id TEXT, fields_hash TEXT, text TEXT,
        fields TEXT
    );
    CREATE TABLE probe (text_hash TEXT)
"""

Kind = Literal["vector", "copy", "cut", "reuse", "repeat", "held", "refresh", "delete"]
"""`vector`: a text of which none was found yet. `repeat`: one that an earlier row brings. `held`:
one in quarantine. The others are as those of `Part`."""


@dataclass(frozen=True)
class Limits:
    """Of a batch that is to be made.

    Attributes:
        tokens: Of a text, estimated.
    """

    max_chunks: int
    max_tokens: int
    tokens: Callable[[str], int]


Todo = tuple[int, Kind, str, Chunk]
"""Of a chunk its shard, what is to be done, and why."""


class Worklist(WorkingFile):
    """Filled by `add`, told by `found_in` and `mark` where vectors are, then read in windows.

    Args:
        shards: In how many it is divided.
        window: Rows read at once.
        max_bytes: Of the chunks of a window; a larger chunk goes alone.
    """

    def __init__(self, shards: int, window: int, max_bytes: int) -> None:
        self._shards, self._window, self._max_bytes = shards, window, max_bytes
        super().__init__("the plan's", _SCHEMA)

    # --- what was met

    def remember(self, name: str) -> bool:
        """Note the key of a chunk; False where it has been met before."""
        return self.db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (name,)).rowcount == 1

    def remember_sources(self, names: Iterable[str]) -> None:
        """Note keys of source documents, whatever their chunks are called."""
        self.db.executemany(
            "INSERT OR IGNORE INTO seen_source VALUES (?)", ((name,) for name in names)
        )

    def met(self, names: Iterable[str]) -> set[str]:
        return self._met("seen", list(names))

    def met_sources(self, names: Iterable[str]) -> set[str]:
        """Of keys of source documents; an uncut document is its own only chunk."""
        wanted = list(names)
        return self._met("seen", wanted) | self._met("seen_source", wanted)

    def _met(self, table: str, names: Sequence[str]) -> set[str]:
        marks = ",".join("?" * len(names))
        found = self._read(f"SELECT id FROM {table} WHERE id IN ({marks})", names)
        return {row[0] for row in found}

    # --- what is to be done

    def add(self, todo: Iterable[Todo]) -> None:
        self.db.executemany(
            "INSERT INTO work "
            "(shard, kind, why, size, text_hash, id, source_id, fields_hash, text, fields) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (shard, kind, why, size_of(chunk), chunk.text_hash, encode(chunk.id),
                 encode(chunk.source_id), chunk.fields_hash, chunk.text, encode(dict(chunk.fields)))
                for shard, kind, why, chunk in todo
            ),
        )  # fmt: skip

    def add_deletions(self, gone: Iterable[tuple[int, Any]]) -> None:
        """Stored chunks that are to go: of each its shard and id."""
        self.db.executemany(
            "INSERT INTO work "
            "(shard, kind, size, text_hash, id, source_id, fields_hash, text, fields) "
            "VALUES (?1, 'delete', 0, '', ?2, ?2, '', '', '{}')",
            ((shard, encode(chunk_id)) for shard, chunk_id in gone),
        )

    def index(self) -> None:
        """To be called once all is added, before `found_in`."""
        self.db.execute("CREATE INDEX work_text ON work (kind, text_hash)")
        # With the row's number behind, as in every index: pages are read in its order.
        self.db.execute("CREATE INDEX work_kind ON work (kind)")
        self.db.execute("CREATE INDEX work_batch ON work (batch) WHERE kind = 'reuse'")
        self.db.execute("CREATE INDEX work_origin ON work (batch) WHERE kind = 'cut'")
        if self._shards > 1:
            index_by_shard(self.db)

    # --- where vectors are

    def found_in(
        self,
        kind: Literal["reuse", "cut"],
        batches: Iterable[tuple[str, list[str]]],
        whole: Callable[[str], bool],
        before: str = "",
    ) -> int:
        """Give rows without a vector whose text is in a batch another kind; how many are left."""
        left = self._read("SELECT count(*) FROM work WHERE kind = 'vector'")[0][0]
        for batch, hashes in batches if left else ():
            self.db.execute("DELETE FROM probe")
            self.db.executemany("INSERT INTO probe VALUES (?)", ((value,) for value in hashes))
            found = "kind = 'vector' AND text_hash IN (SELECT text_hash FROM probe)"
            if not self._read(f"SELECT 1 FROM work WHERE {found} LIMIT 1") or not whole(batch):
                continue
            left -= self.db.execute(
                f"UPDATE work SET kind = '{kind}', batch = ? WHERE {found}", (before + batch,)
            ).rowcount
            if not left:
                break
        return left

    def mark(self, kind: Literal["copy", "held"], which: Callable[[list[str]], set[str]]) -> None:
        """Give rows without a vector whose text is among those found another kind."""
        # A page at a time: rows must not change under an open cursor.
        last = ""
        while page := self._read(
            "SELECT DISTINCT text_hash FROM work WHERE kind = 'vector' AND text_hash > ? "
            "ORDER BY text_hash LIMIT ?",
            (last, self._window),
        ):
            last = page[-1][0]
            self.db.executemany(
                "UPDATE work SET kind = ? WHERE kind = 'vector' AND text_hash = ?",
                ((kind, value) for value in which([row[0] for row in page])),
            )

    def count_held(self) -> list[tuple[int, str, int]]:
        """Of the rows in quarantine shard, why they were added, and how many."""
        return self._read("SELECT shard, why, count(*) FROM work WHERE kind = 'held' GROUP BY 1, 2")

    def once(self) -> None:
        """Of rows with one text the first is worked on, the others take its vector.

        What shards share gets rows of its own first.
        """
        if self._shards > 1:
            share(self.db)
        self.db.execute(
            "UPDATE work SET kind = 'repeat' WHERE kind IN ('vector', 'copy', 'cut') AND "
            "seq NOT IN (SELECT min(seq) FROM work WHERE kind IN ('vector', 'copy', 'cut') "
            "GROUP BY text_hash)"
        )

    def brought(self, batch: str, text_hashes: Iterable[str]) -> None:
        """Rows that repeat a text find its vector in this batch."""
        self.db.executemany(
            "UPDATE work SET kind = 'reuse', batch = ? WHERE kind = 'repeat' AND text_hash = ?",
            ((batch, value) for value in text_hashes),
        )

    # --- read, a window at a time

    def batches(self, kind: Literal["reuse", "cut"], shard: int) -> list[str]:
        """That hold the vectors of rows."""
        where = self._where(kind, shard)
        found = self._read(f"SELECT DISTINCT batch FROM work WHERE {where} ORDER BY batch")
        return [row[0] for row in found]

    def windows(
        self,
        kind: Kind,
        max_chunks: int,
        shard: int | None = None,
        batch: str | None = None,
        *,
        stored: bool = False,
    ) -> Iterator[list[Chunk]]:
        """Rows of one kind, in their order.

        Args:
            kind: Which.
            max_chunks: Of a window.
            shard: None for all.
            batch: Those of one, where not None.
            stored: Without those of which nothing is stored.
        """
        where = self._where(kind, shard) + (" AND why <> 'new'" if stored else "")
        rows = self._rows(where, batch)
        for window in sized_windows(rows, max_chunks, itemgetter(0), self._max_bytes):
            yield [chunk for _, chunk in window]

    def windows_of_tokens(
        self,
        kind: Kind,
        limits: Limits,
        shard: int,
        batch: str | None = None,
    ) -> Iterator[list[Chunk]]:
        """As `windows`, of at most so many tokens; a text of more goes alone."""
        window: list[Chunk] = []
        used = held = 0
        for size, chunk in self._rows(self._where(kind, shard), batch):
            cost = limits.tokens(chunk.text)
            full = (
                len(window) == limits.max_chunks
                or used + cost > limits.max_tokens
                or held + size > self._max_bytes
            )
            if window and full:
                yield window
                window, used, held = [], 0, 0
            window.append(chunk)
            used += cost
            held += size
        if window:
            yield window

    def _where(self, kind: Kind, shard: int | None) -> str:
        # A literal: only then SQLite takes an index of one kind.
        mine = f"shard = {shard} AND " if self._shards > 1 and shard is not None else ""
        return f"{mine}kind = '{kind}'"

    def _rows(self, where: str, batch: str | None) -> Iterator[tuple[int, Chunk]]:
        """Rows in order, each with its size.

        A page at a time, since others may change while it is read: of as many as their sizes allow.
        """
        where, values = (where, ()) if batch is None else (f"{where} AND batch = ?", (batch,))
        last = -1
        while ahead := self._read(
            f"SELECT size, seq FROM work WHERE {where} AND seq > ? ORDER BY seq LIMIT ?",
            (*values, last, self._window),
        ):
            for page in sized_windows(ahead, self._window, itemgetter(0), self._max_bytes):
                first, last = page[0][1], page[-1][1]
                for size, chunk_id, source_id, text, text_hash, fields, fields_hash in self._read(
                    "SELECT size, id, source_id, text, text_hash, fields, fields_hash FROM work "
                    f"WHERE {where} AND seq BETWEEN ? AND ? ORDER BY seq",
                    (*values, first, last),
                ):
                    yield size, Chunk(
                        decode(chunk_id), decode(source_id), text, text_hash, decode(fields),
                        fields_hash,
                    )  # fmt: skip

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.db.execute(sql, values).fetchall()
