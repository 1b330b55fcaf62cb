"""A segment's text on disk: which rows hold a term, how often, and how long each row is.

One SQLite file. FTS5's own index says the same, but hands it out row by row, and reckons BM25 for
one file only: at 200,000 documents it took 150 ms for a common word (benchmarks/local_text.py).
Here a term's rows are one blob, which NumPy reads in a millisecond.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from resources.core.errors import SearchIndexError
from resources.search_index.local.text.connections import Connections
from resources.search_index.local.text.tokens import Term, Tokenizer

FORMAT = 1
NO_TEXT = -1
"""Length of a row without a text."""
_PAGE = 16_384  # bytes: a long blob is a chain of pages
_TYPES = (np.uint8, np.uint16, np.uint32)

_SCHEMA = """
CREATE TABLE segment (
    format INTEGER NOT NULL,
    tokenizer TEXT NOT NULL,
    lengths BLOB NOT NULL  -- a little-endian int32 for each row: its tokens; -1: it has no text
);
CREATE TABLE postings (
    term BLOB NOT NULL PRIMARY KEY,
    documents INTEGER NOT NULL,
    -- `documents` little-endian unsigned integers, as wide as they need to be:
    rows BLOB NOT NULL,    -- the first row, then the steps from each to the next
    counts BLOB            -- of the term in each; null: once in all of them
) WITHOUT ROWID;
"""


class Postings(NamedTuple):
    """Of one term.

    Attributes:
        rows: (documents,) in ascending order.
        counts: (documents,) how often each holds the term.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]


class TextSegment:
    """The text of a segment, open; any number of threads may ask it.

    Attributes:
        tokenizer: By which it was built.
        lengths: (rows,) tokens of each; `NO_TEXT` where there is none.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens a file that nobody changes any more, and that stays where it is.

        Raises:
            SearchIndexError: It is not such a file.
        """
        self._path = Path(path).absolute()
        self._connections = Connections(_opener(self._path))
        try:
            with self._connections.one() as connection:
                columns = "format, tokenizer, lengths"
                found = connection.execute(f"SELECT {columns} FROM segment").fetchone()
        except sqlite3.DatabaseError as error:
            raise SearchIndexError(
                f"the text index {self._path} cannot be read ({error}): materialize search_index "
                "again"
            ) from error
        if found is None or found[0] != FORMAT or found[1] not in get_args(Tokenizer):
            raise SearchIndexError(
                f"the text index {self._path} is of another version of this software: materialize "
                "search_index again"
            )
        self.tokenizer: Tokenizer = found[1]
        self.lengths: NDArray[np.int32] = np.frombuffer(found[2], "<i4")

    def __len__(self) -> int:
        return len(self.lengths)

    def postings(self, terms: Iterable[Term]) -> list[Postings]:
        """Of each term; of one that is a prefix, all that begin so together."""
        with self._connections.one() as connection:
            return [_postings(connection, term) for term in terms]

    def all(self) -> Iterator[tuple[bytes, Postings]]:
        """Every term in the order of its bytes."""
        with self._connections.one() as connection:
            columns = "term, documents, rows, counts"
            for term, *stored in connection.execute(
                f"SELECT {columns} FROM postings ORDER BY term"
            ):
                yield term, _decoded(*stored)

    def close(self) -> None:
        self._connections.close()


def _opener(path: Path) -> Callable[[], sqlite3.Connection]:
    def connect() -> sqlite3.Connection:
        address = f"{path.as_uri()}?mode=ro&immutable=1"
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, check_same_thread=False
        )
        connection.execute(f"PRAGMA mmap_size = {1 << 40}")  # as much as SQLite allows
        return connection

    return connect


def write_segment(
    path: str | Path,
    tokenizer: Tokenizer,
    postings: Iterable[tuple[bytes, Postings]],
    lengths: NDArray[np.integer],
) -> None:
    """Writes the file, which is complete only when this returns.

    Args:
        path: Of a file that is not there yet.
        tokenizer: By which the terms were made.
        postings: Of every term, in the order of its bytes.
        lengths: (rows,); asked for only after the postings.
    """
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for pragma in (f"page_size = {_PAGE}", "journal_mode = off", "synchronous = off"):
            connection.execute(f"PRAGMA {pragma}")
        connection.executescript(_SCHEMA)
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO postings (term, documents, rows, counts) VALUES (?, ?, ?, ?)",
            ((term, *_encoded(found)) for term, found in postings if len(found.rows)),
        )
        stored = np.ascontiguousarray(lengths, "<i4").tobytes()
        connection.execute("INSERT INTO segment VALUES (?, ?, ?)", (FORMAT, tokenizer, stored))
        connection.execute("COMMIT")
    finally:
        connection.close()


def _postings(connection: sqlite3.Connection, term: Term) -> Postings:
    if not term.prefix:
        found = connection.execute(
            "SELECT documents, rows, counts FROM postings WHERE term = ?", (term.text,)
        ).fetchone()
        return _decoded(*found) if found else Postings(np.empty(0, np.int64), np.empty(0, np.int64))
    # No byte of UTF-8 is 255.
    cursor = connection.execute(
        "SELECT documents, rows, counts FROM postings WHERE term >= ? AND term < ?",
        (term.text, term.text + b"\xff"),
    )
    return united([_decoded(*found) for found in cursor])


def united(parts: list[Postings]) -> Postings:
    """Together and in order; a row may be in several."""
    if len(parts) == 1 and (np.diff(parts[0].rows) > 0).all():
        return parts[0]
    rows = np.concatenate([part.rows for part in parts] or [np.empty(0, np.int64)])
    counts = np.concatenate([part.counts for part in parts] or [np.empty(0, np.int64)])
    distinct, where = np.unique(rows, return_inverse=True)
    return Postings(distinct, np.bincount(where, counts, len(distinct)).astype(np.int64))


def _encoded(postings: Postings) -> tuple[int, bytes, bytes | None]:
    steps = np.diff(postings.rows, prepend=0)
    once = int(postings.counts.max()) == 1
    return len(steps), _narrow(steps), None if once else _narrow(postings.counts)


def _narrow(values: NDArray[np.int64]) -> bytes:
    largest = int(values.max())
    kind = next(kind for kind in _TYPES if largest <= np.iinfo(kind).max)
    return values.astype(np.dtype(kind).newbyteorder("<")).tobytes()


def _decoded(documents: int, rows: bytes, counts: bytes | None) -> Postings:
    found = np.cumsum(_wide(rows, documents), dtype=np.int64)
    once = np.broadcast_to(np.int64(1), documents)
    return Postings(found, once if counts is None else _wide(counts, documents))


def _wide(stored: bytes, count: int) -> NDArray[Any]:
    return np.frombuffer(stored, f"<u{len(stored) // count}")
