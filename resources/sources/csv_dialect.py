"""How a CSV file is written, and what a line of it can mean."""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

# More than a MongoDB document can hold; a longer field is taken for damage.
LONGEST_FIELD = 16 * 1024**2

MUCH_WORK = 4 * 1024**2
"""Characters to look at for one damaged line; beyond it is not asked what the damage can be."""

OUTSIDE = 0
"""Between two rows. Any other state is the column whose quotes are open."""
UNKNOWN = -1
"""In quotes, of a column that is not known."""


@dataclass(frozen=True)
class Dialect:
    """The settings of Python's csv module; `quote` is None where quotes mean nothing."""

    delimiter: str = ","
    quote: str | None = '"'
    escape: str | None = None
    double_quote: bool = True
    skip_initial_space: bool = False

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        # For the whole process, so never lowered.
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
        # Not strict, an unclosed quote would swallow the rest of the file without a word.
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote,
            quoting=csv.QUOTE_NONE if self.quote is None else csv.QUOTE_MINIMAL,
            escapechar=self.escape,
            doublequote=self.double_quote,
            skipinitialspace=self.skip_initial_space,
            strict=True,
        )

    def has_quote(self, text: str) -> bool:
        return self.quote is not None and self.quote in text

    def is_row(self, text: str) -> bool:
        """Whether quotes stand only where they mean something; the csv module takes others too."""
        return self._row.fullmatch(text) is not None

    def after(self, line: str, state: int, columns: int) -> int | None:
        """The state after a line of a file without damage; None if it cannot be there.

        Args:
            line: With its line end.
            state: Before it.
            columns: Of every row.
        """
        if state == OUTSIDE and not line.strip("\r\n"):
            return OUTSIDE
        at, column, inside = 0, max(state, 1), state != OUTSIDE
        while True:
            if not inside:
                at = self._space.match(line, at).end()  # pyright: ignore[reportOptionalMemberAccess]
                inside = line[at : at + 1] == self.quote
                at += inside
            pattern = self._quoted if inside else self._plain
            at = pattern.match(line, at).end()  # pyright: ignore[reportOptionalMemberAccess]
            if inside and at == len(line):
                return UNKNOWN if state == UNKNOWN else column
            if inside and line[at] != self.quote:
                return None
            at += inside
            if line[at : at + 1] != self.delimiter:
                break
            at, column, inside = at + 1, column + 1, False
        fits = column <= columns if state == UNKNOWN else column == columns
        return OUTSIDE if fits and not line[at:].strip("\r\n") else None

    def may_hide_text(self, line: str, columns: int) -> bool:
        """Whether a damaged line can end within quotes, were one quote more or less in it."""
        quote = self.quote or ""
        quotes = [at for at, sign in enumerate(line) if sign == quote]
        edges = [0, len(line.rstrip("\r\n"))]
        for at, sign in enumerate(line):
            if sign == self.delimiter:
                edges += [at, at + 1]
        if (len(quotes) + len(edges)) * len(line) > MUCH_WORK:
            return True
        fewer = (line[:at] + line[at + 1 :] for at in quotes)
        more = (line[:at] + quote + line[at:] for at in {*quotes, *edges})
        return any(
            self.after(other, OUTSIDE, columns) not in (None, OUTSIDE)
            for others in (fewer, more)
            for other in others
        )

    # Possessive, so that no text, however damaged, is gone over twice.

    @cached_property
    def _quoted(self) -> re.Pattern[str]:
        """What may follow an opening quote, up to the closing one."""
        quote, escape = re.escape(self.quote or ""), re.escape(self.escape or "")
        others = (f"|{quote}{quote}" if self.double_quote else "") + (escape and f"|{escape}.")
        return re.compile(f"(?:[^{quote}{escape}]++{others})*+", re.DOTALL)

    @cached_property
    def _plain(self) -> re.Pattern[str]:
        """A cell without quotes."""
        escape = re.escape(self.escape or "")
        special = re.escape(self.quote or "") + escape + re.escape(self.delimiter)
        others = escape and f"|{escape}."
        return re.compile(rf"(?:[^{special}\r\n]++{others})*+", re.DOTALL)

    @cached_property
    def _space(self) -> re.Pattern[str]:
        return re.compile(" *+" if self.skip_initial_space else "")

    @cached_property
    def _row(self) -> re.Pattern[str]:
        quote, delimiter = re.escape(self.quote or ""), re.escape(self.delimiter)
        quoted, plain = self._quoted.pattern, self._plain.pattern
        cell = f"{self._space.pattern}(?:{quote}{quoted}{quote}|{plain})"
        return re.compile(rf"{cell}(?:{delimiter}{cell})*+(?:\r\n|\r|\n)?", re.DOTALL)
