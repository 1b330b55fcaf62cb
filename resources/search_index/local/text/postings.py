"""A segment's text on disk: which rows hold a term, how often, and how long each row is.

One SQLite file. FTS5's own index says the same, but hands it out row by row, and reckons BM25 for
one file only: at 200,000 documents it took 146 ms for a frequent word, this 4 ms
(benchmarks/local_text.py), for a term's rows are one blob here, which NumPy reads at once.
"""

import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from resources.core.errors import SearchIndexError
from resources.search_index.local.text.connections import Connections
from resources.search_index.local.text.tokens import Term, Tokenizer

FORMAT = 1
NO_TEXT = -1
"""Length of a row without a text."""
_PAGE = 16_384  # bytes: a long blob is a chain of pages
_NONE = np.empty(0, np.int64)

_SCHEMA = """
CREATE TABLE segment (
    format INTEGER NOT NULL,
    tokenizer TEXT NOT NULL,
    lengths BLOB NOT NULL  -- a little-endian int32 for each row: its tokens; -1: it has no text
);
CREATE TABLE postings (
    term BLOB NOT NULL PRIMARY KEY,
    documents INTEGER NOT NULL,
    -- `documents` little-endian unsigned integers, as wide as the largest needs:
    rows BLOB NOT NULL,    -- the first row, then the steps from each to the next
    counts BLOB            -- of the term in each; null: once in all of them
) WITHOUT ROWID;
"""


class Postings(NamedTuple):
    """Of one term.

    Attributes:
        rows: (documents,) in ascending order.
        counts: (documents,) how often each holds the term; None: once, all of them.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.integer] | None


class TextSegment:
    """The text of a segment, open; any number of threads may ask it.

    Attributes:
        path: Of the file.
        tokenizer: By which it was built.
        lengths: (rows,) tokens of each; `NO_TEXT` where there is none.
    """

    def __init__(self, path: str | Path, scratch: TemporaryDirectory | None = None) -> None:
        """Opens a file that nobody changes any more.

        Args:
            path: Of the file. If it vanishes, what is open goes on.
            scratch: A folder that goes when nobody holds the segment any more.

        Raises:
            SearchIndexError: It is not such a file.
        """
        self.path = Path(path).absolute()
        try:
            self._connections = Connections(_opener(self.path))
            if scratch is not None:
                weakref.finalize(self, _release, self._connections, scratch)
            with self._connections.one() as connection:
                columns = "format, tokenizer, lengths"
                found = connection.execute(f"SELECT {columns} FROM segment").fetchone()
        except sqlite3.DatabaseError as error:
            raise SearchIndexError(
                f"the text index {self.path} cannot be read ({error}): materialize search_index "
                "again"
            ) from error
        if found is None or found[0] != FORMAT or found[1] not in get_args(Tokenizer):
            raise SearchIndexError(
                f"the text index {self.path} is of another version of this software: materialize "
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
            for term, *stored in connection.execute(
                "SELECT term, documents, rows, counts FROM postings ORDER BY term"
            ):
                yield term, _decoded(*stored)

    def close(self) -> None:
        self._connections.close()


def _release(connections: Connections, scratch: TemporaryDirectory) -> None:
    connections.close()
    scratch.cleanup()


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
    lengths: NDArray[np.int32],
) -> None:
    """Writes the file, which is complete only when this returns.

    Args:
        path: Of a file that is not there yet.
        tokenizer: By which the terms were made.
        postings: Of every term, in the order of its bytes.
        lengths: (rows,); looked at only after the postings.
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
        stored = lengths.astype("<i4").tobytes()
        connection.execute("INSERT INTO segment VALUES (?, ?, ?)", (FORMAT, tokenizer, stored))
        connection.execute("COMMIT")
    finally:
        connection.close()


def _postings(connection: sqlite3.Connection, term: Term) -> Postings:
    if not term.prefix:
        found = connection.execute(
            "SELECT documents, rows, counts FROM postings WHERE term = ?", (term.text,)
        ).fetchone()
        return _decoded(*found) if found else Postings(_NONE, None)
    # No byte of UTF-8 is 255.
    cursor = connection.execute(
        "SELECT documents, rows, counts FROM postings WHERE term >= ? AND term < ?",
        (term.text, term.text + b"\xff"),
    )
    return united([_decoded(*found) for found in cursor])


def united(parts: list[Postings]) -> Postings:
    """Together and in order; a row may be in several."""
    if len(parts) == 1 and (parts[0].rows[1:] > parts[0].rows[:-1]).all():
        return parts[0]
    rows = np.concatenate([_NONE, *(part.rows for part in parts)])
    counts = np.concatenate(
        [_NONE, *(np.ones(len(rows), np.int64) if n is None else n for rows, n in parts)]
    )
    distinct, where = np.unique(rows, return_inverse=True)
    return Postings(distinct, np.bincount(where, counts, len(distinct)).astype(np.int64))


def _encoded(postings: Postings) -> tuple[int, bytes, bytes | None]:
    rows, counts = postings
    steps = rows.copy()
    steps[1:] -= rows[:-1]
    if counts is not None and counts.max() == 1:
        counts = None
    return len(rows), _narrow(steps), None if counts is None else _narrow(counts)


def _narrow(values: NDArray[np.integer]) -> bytes:
    largest = int(values.max())
    kind = "<u1" if largest < 1 << 8 else "<u2" if largest < 1 << 16 else "<u4"
    return values.astype(kind).tobytes()


def _decoded(documents: int, rows: bytes, counts: bytes | None) -> Postings:
    found = np.frombuffer(rows, _KINDS[len(rows) // documents]).cumsum(dtype=np.int64)
    if counts is None:
        return Postings(found, None)
    return Postings(found, np.frombuffer(counts, _KINDS[len(counts) // documents]))


_KINDS = {width: np.dtype(f"<u{width}") for width in (1, 2, 4)}
