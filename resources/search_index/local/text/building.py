"""Making the text of a segment: from texts, or from the texts of other segments."""

import heapq
import itertools
import operator
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from resources.core.errors import SearchIndexError
from resources.search_index.local.text.postings import (
    NO_TEXT,
    Postings,
    TextSegment,
    united,
    write_segment,
)
from resources.search_index.local.text.tokens import INSERT, Tokenizer, create_table, prepared

HASH_BYTES = 32 << 20
"""What FTS5 collects in memory before it writes it to its temporary file."""
WHOLE = 1_000_000
"""A term that comes more often is read in pieces."""
PIECE = 100_000


class TextBuilder:
    """Takes texts in the order of their rows, of which it holds none: FTS5 has a temporary file."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer: Tokenizer = tokenizer
        # Without a name SQLite takes a file that goes with the connection, or with the process.
        self._db = sqlite3.connect("", isolation_level=None)
        create_table(self._db, tokenizer)
        self._db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(texts, 'row')")
        self._db.execute(f"INSERT INTO texts (texts, rank) VALUES ('hashsize', {HASH_BYTES})")
        self._db.execute("BEGIN")
        self._missing: list[int] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def __enter__(self) -> "TextBuilder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._db.close()

    def add(self, texts: Iterable[str | None]) -> None:
        """The next rows' texts; None: a row that has none.

        Raises:
            SearchIndexError: There is no room for temporary files.
        """
        with _explained():
            self._db.executemany(INSERT, self._given(texts))

    def _given(self, texts: Iterable[str | None]) -> Iterator[tuple[int, str]]:
        for text in texts:
            if text is None:
                self._missing.append(self._rows)
            else:
                yield self._rows, prepared(text, self._tokenizer)
            self._rows += 1

    def write(self, path: str | Path) -> None:
        """Writes all of it to a new file.

        Raises:
            SearchIndexError: There is no room for it.
        """
        lengths = np.zeros(self._rows, np.int32)
        lengths[self._missing] = NO_TEXT
        with _explained():
            self._db.execute("COMMIT")
            write_segment(path, self._tokenizer, self._postings(lengths), lengths)

    def _postings(self, lengths: NDArray[np.int32]) -> Iterator[tuple[bytes, Postings]]:
        rows = "SELECT doc FROM instances WHERE instances.term = terms.term"
        listed = f"CASE WHEN cnt <= {WHOLE} THEN (SELECT group_concat(doc) FROM ({rows})) END"
        for term, found in self._db.execute(f"SELECT CAST(term AS BLOB), {listed} FROM terms"):
            if found is None:
                postings = self._in_pieces(term)
            else:
                postings = _counted(np.fromstring(found, np.int64, sep=","))
            lengths[postings.rows] += postings.counts.astype(np.int32)
            yield term, postings

    def _in_pieces(self, term: bytes) -> Postings:
        cursor = self._db.execute("SELECT doc FROM instances WHERE term = CAST(? AS TEXT)", (term,))
        pieces: list[Postings] = []
        while rows := cursor.fetchmany(PIECE):
            pieces.append(_counted(np.fromiter((row for (row,) in rows), np.int64, len(rows))))
        return united(pieces)


def merge_texts(
    path: str | Path, parts: Sequence[tuple[TextSegment, NDArray[np.integer]]], rows: int
) -> None:
    """Writes a segment of others' rows, as if their texts had been added anew.

    Args:
        path: Of a new file.
        parts: Each segment with the new number of each of its rows, -1 for one that goes.
        rows: Of the new segment.

    Raises:
        SearchIndexError: There is no room for it, or the segments are of several tokenizers.
    """
    tokenizer = parts[0][0].tokenizer
    if any(segment.tokenizer != tokenizer for segment, _ in parts):
        raise SearchIndexError("texts of different tokenizers cannot be merged")
    lengths = np.full(rows, NO_TEXT, np.int32)
    for segment, numbers in parts:
        lengths[numbers[numbers >= 0]] = segment.lengths[numbers >= 0]
    with _explained():
        write_segment(path, tokenizer, _merged(parts), lengths)


def _merged(
    parts: Sequence[tuple[TextSegment, NDArray[np.integer]]],
) -> Iterator[tuple[bytes, Postings]]:
    term = operator.itemgetter(0)
    sorted_by_term = heapq.merge(*(_renumbered(*part) for part in parts), key=term)
    for text, found in itertools.groupby(sorted_by_term, term):
        yield text, united([postings for _, postings in found])


def _renumbered(
    segment: TextSegment, numbers: NDArray[np.integer]
) -> Iterator[tuple[bytes, Postings]]:
    for term, postings in segment.all():
        rows = numbers[postings.rows]
        stays = rows >= 0
        yield term, Postings(rows[stays].astype(np.int64), postings.counts[stays])


def _counted(rows: NDArray[np.int64]) -> Postings:
    """Of ascending rows, each as often as it holds the term."""
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    return Postings(rows[starts], np.diff(starts, append=len(rows)))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SearchIndexError(
            f"the text index cannot be written ({error}): make room in the folder for temporary "
            "files, or name another as SQLITE_TMPDIR"
        ) from error
