"""How results look, whatever they are: tables, facts, texts; and as JSON for programs."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from rich import box
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.framework.console import Screen, console, plain

Cell = str | Text

NARROWEST_PROSE = 24
_SEPARATOR = 2
_INDENT = 2


@dataclass(frozen=True)
class Column:
    """A column of a `Listing`.

    Attributes:
        prose: Sentences, which may be folded; anything else stays whole, to be copied.
        right: Numbers stand at the right.
        total: Stands below the column.
    """

    name: str
    prose: bool = False
    right: bool = False
    style: str = ""
    total: str = ""

    @property
    def label(self) -> str:
        """The name in one line."""
        return " ".join(self.name.split("\n"))


class Listing:
    """Rows under named columns, of which nothing is ever cut and only prose is folded.

    A table where it fits; else, if none of it is prose, a table below lines of the first column;
    else each row a block of lines. Where it is no terminal, a row is one line.

    Cells are text: a `str` is data, and a `Text` comes from `styled`.
    """

    def __init__(self, *columns: Column | str) -> None:
        self.columns = [Column(each) if isinstance(each, str) else each for each in columns]
        self.rows: list[list[Text]] = []
        self._styles: list[str] = []

    def row(self, *cells: Cell, style: str = "") -> None:
        self.rows.append([each if isinstance(each, Text) else Text(plain(each)) for each in cells])
        self._styles.append(style)

    def show(self, screen: Screen = console) -> None:
        if not screen.is_terminal:
            self.columns = [replace(column, name=column.label) for column in self.columns]
            self.rows = [list(map(_joined, cells)) for cells in self.rows]
        prose = any(column.prose for column in self.columns)
        if self._narrowest() <= screen.width:
            screen.print(self._table())
        elif not prose and self._narrowest(1) + _INDENT <= screen.width:
            self._headed(screen)
        else:
            self._blocks(screen)

    def _widths(self) -> list[int]:
        """Of the columns, where nothing but prose is folded."""
        widths = []
        for column, *cells in zip(self.columns, *self.rows, strict=True):
            natural = max(map(_width, (Text(column.name), Text(column.total), *cells)))
            widths.append(min(natural, NARROWEST_PROSE) if column.prose else natural)
        return widths

    def _narrowest(self, first: int = 0) -> int:
        """How wide the table must be from this column on."""
        widths = self._widths()[first:]
        return sum(widths) + _SEPARATOR * (len(widths) - 1)

    def _table(self) -> Table:
        totals = any(column.total for column in self.columns)
        table = Table(
            box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True, show_footer=totals
        )
        for column in self.columns:
            table.add_column(
                column.name,
                column.total,
                justify="right" if column.right else "left",
                style=column.style,
                no_wrap=not column.prose,
                overflow="fold",
            )
        for cells, style in zip(self.rows, self._styles, strict=True):
            table.add_row(*cells, style=style)
        return table

    def _headed(self, screen: Screen) -> None:
        """Each first cell a line of its own, the others aligned below it."""
        widths = self._widths()[1:]

        def row(cells: Sequence[Text], style: str) -> None:
            for line in zip_longest(*(cell.split("\n") for cell in cells), fillvalue=Text()):
                aligned = [part.copy() for part in line]
                for part, width, column in zip(aligned, widths, self.columns[1:], strict=True):
                    part.align("right" if column.right else "left", width)
                shown = Text(" " * _INDENT) + Text(" " * _SEPARATOR).join(aligned)
                screen.print(shown, soft_wrap=True, style=style)

        screen.print()
        screen.print(self.columns[0].label, style="bold")
        row([Text(column.name) for column in self.columns[1:]], "bold")
        screen.print("─" * (_INDENT + self._narrowest(1)))
        for (heading, *others), style in zip(self._all(), (*self._styles, ""), strict=False):
            screen.print(_in(_joined(heading), self.columns[0].style), soft_wrap=True, style=style)
            row(others, style)
        screen.print()

    def _blocks(self, screen: Screen) -> None:
        """The first cell as a heading, the short ones in a line, each prose in its own."""
        for cells in self._all():
            heading, *others = zip(self.columns, map(_joined, cells), strict=True)
            screen.print()
            screen.print(_in(heading[1], "bold"), soft_wrap=True)
            short = [
                Text.assemble((f"{column.label} ", "dim"), cell)
                for column, cell in others
                if cell.plain and not column.prose
            ]
            if short:
                screen.print(Text("  ") + Text(" · ", "dim").join(short), soft_wrap=True)
            for column, cell in others:
                if cell.plain and column.prose:
                    screen.print(
                        Text.assemble((f"  {column.label}: ", "dim"), cell), soft_wrap=True
                    )
        screen.print()

    def _all(self) -> list[list[Text]]:
        totals = [Text(column.total) for column in self.columns]
        return [*self.rows, totals] if any(map(_width, totals)) else self.rows


def facts(rows: Mapping[str, Cell] | Iterable[tuple[str, Cell]], screen: Screen = console) -> None:
    """Names and what belongs to each, a line each; none is broken."""
    pairs = list(rows.items()) if isinstance(rows, Mapping) else list(rows)
    width = max(len(plain(name)) for name, _ in pairs)
    screen.print()
    for name, value in pairs:
        shown = value if isinstance(value, Text) else Text(plain(value))
        label = Text(plain(name).ljust(width + 2), "dim")
        screen.print(Text.assemble(" ", label, shown), soft_wrap=True)
    screen.print()


def lines(values: Sequence[Cell]) -> Text:
    """Several values in one cell, a line each."""
    return Text("\n").join(
        [each if isinstance(each, Text) else Text(plain(each)) for each in values]
    )


def shortened(text: str, width: int = 160) -> Text:
    """A text in one line; cut in a terminal, whole where it is no terminal."""
    line = " ".join(text.split())
    if console.is_terminal and len(line) > width:
        line = line[: width - 1] + "…"
    return Text(plain(line))


def paragraph(text: Text, indent: int, screen: Screen = console) -> None:
    """Prose, folded where the terminal ends."""
    screen.print(Padding(text, (0, 0, 0, indent), expand=False))


def document(value: Any, screen: Screen = console) -> None:
    """JSON for people, in colours."""
    screen.print_json(json.dumps(value, ensure_ascii=False, default=str))


def print_json(value: Any) -> None:
    """For programs: one document on standard output, no colours, no wrapping."""
    print_json_line(value, indent=2)


def print_json_line(value: Any, indent: int | None = None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    # JSON's own way to write what a terminal would obey; it only stands within strings.
    sys.stdout.write(_OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")
    sys.stdout.flush()


_OBEYED = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _width(cell: Text) -> int:
    return max((line.cell_len for line in cell.split("\n")), default=0)


def _joined(cell: Text) -> Text:
    """The lines of a cell in one."""
    return Text(" ").join(cell.split("\n"))


def _in(cell: Text, style: str) -> Text:
    cell = cell.copy()
    cell.stylize_before(style)
    return cell
