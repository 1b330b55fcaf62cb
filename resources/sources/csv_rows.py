"""Rows of a CSV file, and the lines of it from which no certain row can be read.

A quote too many or too few turns text and rows inside out, from there on. So a damaged row ends
with its line only if no single quote more or less would make it go on. Otherwise the lines that
follow are read both ways, as rows and as text in quotes, until one of the two turns out to be
impossible, or both meet between two rows: from there on it is certain again where a row starts.
What was uncertain is left out.
"""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from resources.sources.csv_dialect import LONGEST_FIELD, OUTSIDE, UNKNOWN, Dialect

# A longer line is taken for damage: reading on could bring the whole file into memory.
LONGEST_LINE = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    """That it starts in, from 1."""
    cells: list[str]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Lines from which no row can be read."""

    first: int
    last: int
    reason: str
    excerpt: str


class _Lines:
    """Lines of a file, of which some can be put back; those of the current row are kept."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._again = deque[str]()
        self.number = 0
        self.row: list[str] = []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._stream.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        self.row.append(line)
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            while (rest := self._stream.readline(1024**2)) and rest[-1] not in "\r\n":
                pass
            raise csv.Error(f"a line is longer than {LONGEST_LINE >> 20} MiB")
        return line

    def put_back(self, lines: list[str]) -> None:
        self._again.extendleft(reversed(lines))
        self.number -= len(lines)


class Rows:
    """Iterates over rows and what is left out.

    Args:
        stream: Opened with newline="".
        dialect: How it is written.
        columns: How many each row has; None until the first row, the header, has told.
    """

    def __init__(self, stream: IO[str], dialect: Dialect, columns: int | None = None) -> None:
        self._lines, self._dialect, self.columns = _Lines(stream), dialect, columns
        self._reader = dialect.reader(self._lines)

    def header(self) -> Row | LeftOut | None:
        """The first row; from here on every row has its number of columns."""
        first = next(self._read(), None)
        if isinstance(first, Row):
            self.columns = len(first.cells)
        return first

    def __iter__(self) -> Iterator[Row | LeftOut]:
        for found in self._read():
            if isinstance(found, LeftOut) and self._goes_on(self._lines.row):
                yield self._widened(found)
            else:
                yield found

    def _goes_on(self, damaged: list[str]) -> bool:
        """Whether the row may not end where its damage shows."""
        if not any(map(self._dialect.has_quote, damaged)):
            return False
        return len(damaged) > 1 or self._dialect.may_hide_text(damaged[0], self.columns or 0)

    def _widened(self, damage: LeftOut) -> LeftOut:
        """The damage, and all that follows it up to where a row is certain to start."""
        last = self._resume(damage.last)
        if last == damage.first:
            return damage
        reason = (
            f"{damage.reason}; lines {damage.first} to {last} are left out, because no row is "
            "certain to start within them"
        )
        return LeftOut(damage.first, last, reason, damage.excerpt)

    def _read(self) -> Iterator[Row | LeftOut]:
        lines, dialect = self._lines, self._dialect
        while True:
            first, lines.row = lines.number + 1, []
            try:
                cells = next(self._reader, None)
                problem = ""
            except csv.Error as error:
                cells, problem = [], f"malformed CSV: {error}"
            if cells is None:
                return
            if not problem and not cells:
                continue
            raw = lines.row[0] if len(lines.row) == 1 else "".join(lines.row)
            if not problem and dialect.has_quote(raw) and not dialect.is_row(raw):
                problem = "malformed CSV: a quote within a cell that does not begin with one"
            if not problem and self.columns not in (None, len(cells)):
                problem = f"{len(cells)} columns where the header has {self.columns}"
            if problem:
                yield LeftOut(first, lines.number, problem, raw)
            else:
                yield Row(first, cells)

    def _resume(self, last: int) -> int:
        """Goes on to where a row is certain to start, and tells the last line before."""
        lines, columns = self._lines, self.columns or 0
        ahead: list[str] = []
        size = 0
        as_rows: int | None = OUTSIDE
        as_text: int | None = UNKNOWN
        text_ends: int | None = None  # how many lines ahead the quotes are closed, if it is text
        while True:
            if as_rows == OUTSIDE and as_text == OUTSIDE:
                return lines.number  # whichever it was, a row starts here
            try:
                line = next(lines, None)
            except csv.Error:
                as_rows, as_text, line = None, None, ""
            if line is None:
                # In a file without further damage no quote is left open at its end.
                as_rows = OUTSIDE if as_rows == OUTSIDE else None
                as_text = OUTSIDE if as_text == OUTSIDE else None
            else:
                ahead.append(line)
                size += len(line)
                after = self._dialect.after
                as_rows = None if as_rows is None else after(line, as_rows, columns)
                as_text = None if as_text is None else after(line, as_text, columns)
                if as_text == OUTSIDE and text_ends is None:
                    text_ends = len(ahead)
                if size > LONGEST_FIELD and text_ends is None:
                    as_text = None
            lines.row = []
            if as_rows is not None and as_text is None:
                lines.put_back(ahead)
                return last
            if as_text is not None and as_rows is None and text_ends is not None:
                lines.put_back(ahead[text_ends:])
                return lines.number
            if line is None:
                return lines.number
            if (as_rows is None and as_text is None) or size > 2 * LONGEST_FIELD:
                # More than one damage: nothing of all this was certain.
                last, ahead, size = lines.number, [], 0
                as_rows, as_text, text_ends = OUTSIDE, UNKNOWN, None
