"""Making the text of a segment: from texts, and from rows of other segments."""

import heapq
import itertools
import operator
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
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

_Terms = Iterator[tuple[bytes, Postings]]


class TextBuilder:
    """Takes the rows of a segment in their order; holds no texts: FTS5 has a temporary file."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer: Tokenizer = tokenizer
        # Without a name SQLite takes a file that goes with the connection, or with the process.
        self._db = sqlite3.connect("", isolation_level=None)
        create_table(self._db, tokenizer)
        self._db.execute("CREATE VIRTUAL TABLE terms USING fts5vocab(texts, 'row')")
        self._db.execute(f"INSERT INTO texts (texts, rank) VALUES ('hashsize', {HASH_BYTES})")
        self._db.execute("BEGIN")
        self._missing: list[int] = []
        self._others: list[tuple[TextSegment, NDArray[np.int64]]] = []
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
            row, self._rows = self._rows, self._rows + 1
            if text is None:
                self._missing.append(row)
            else:
                yield row, prepared(text, self._tokenizer)

    def extend(self, segment: TextSegment, rows: NDArray[np.int64]) -> None:
        """The next rows are these of another segment, as if their texts had been added anew.

        Raises:
            SearchIndexError: It is of another tokenizer.
        """
        if segment.tokenizer != self._tokenizer:
            raise SearchIndexError(
                f"text of the tokenizer {segment.tokenizer} cannot be merged with text of "
                f"{self._tokenizer}"
            )
        numbers = np.full(len(segment), -1, np.int64)
        numbers[rows] = np.arange(self._rows, self._rows + len(rows))
        self._others.append((segment, numbers))
        self._rows += len(rows)

    def finish(self) -> TextSegment:
        """All of it in a temporary file, which goes when nobody holds the segment any more.

        Raises:
            SearchIndexError: There is no room for it.
        """
        with self:
            scratch = TemporaryDirectory(prefix="search-index-")
            path = Path(scratch.name, "text.sqlite")
            self.write(path)
            return TextSegment(path, scratch)

    def write(self, path: str | Path) -> None:
        """Writes all of it to a new file.

        Raises:
            SearchIndexError: There is no room for it.
        """
        lengths = np.zeros(self._rows, np.int32)
        lengths[self._missing] = NO_TEXT
        for segment, numbers in self._others:
            lengths[numbers[numbers >= 0]] = segment.lengths[numbers >= 0]
        with _explained():
            self._db.execute("COMMIT")
            terms = self._added(lengths)
            if self._others:
                terms = _merged([terms, *(_renumbered(*other) for other in self._others)])
            write_segment(path, self._tokenizer, terms, lengths)

    def _added(self, lengths: NDArray[np.int32]) -> _Terms:
        """What was added as texts; reckons the lengths of those rows."""
        rows = "SELECT doc FROM instances WHERE instances.term = terms.term"
        listed = f"CASE WHEN cnt <= {WHOLE} THEN (SELECT group_concat(doc) FROM ({rows})) END"
        for term, found in self._db.execute(f"SELECT CAST(term AS BLOB), {listed} FROM terms"):
            if found is None:
                postings = self._in_pieces(term)
            else:
                postings = _counted(np.fromstring(found, np.int64, sep=","))
            lengths[postings.rows] += 1 if postings.counts is None else postings.counts
            yield term, postings

    def _in_pieces(self, term: bytes) -> Postings:
        cursor = self._db.execute("SELECT doc FROM instances WHERE term = CAST(? AS TEXT)", (term,))
        pieces: list[Postings] = []
        while rows := cursor.fetchmany(PIECE):
            pieces.append(_counted(np.fromiter((row for (row,) in rows), np.int64, len(rows))))
        return united(pieces)


def _merged(streams: Iterable[_Terms]) -> _Terms:
    term = operator.itemgetter(0)
    for text, found in itertools.groupby(heapq.merge(*streams, key=term), term):
        yield text, united([postings for _, postings in found])


def _renumbered(segment: TextSegment, numbers: NDArray[np.int64]) -> _Terms:
    for term, (rows, counts) in segment.all():
        found = numbers[rows]
        stays = found >= 0
        if stays.all():
            yield term, Postings(found, counts)
        elif stays.any():
            yield term, Postings(found[stays], None if counts is None else counts[stays])


def _counted(rows: NDArray[np.int64]) -> Postings:
    """Of ascending rows, each as often as it holds the term."""
    first = np.empty(len(rows), np.bool_)
    first[0] = True
    np.not_equal(rows[1:], rows[:-1], out=first[1:])
    if first.all():
        return Postings(rows, None)
    starts = np.flatnonzero(first)
    counts = np.empty_like(starts)
    counts[:-1] = starts[1:] - starts[:-1]
    counts[-1] = len(rows) - starts[-1]
    return Postings(rows[starts], counts)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SearchIndexError(
            f"the text index cannot be written ({error}): make room in the folder for temporary "
            "files, or name another as SQLITE_TMPDIR"
        ) from error
