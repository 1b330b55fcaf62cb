"""One page that tells how good searches are: a file to hand around, with all that it shows inside.

It runs nothing and loads nothing, and what comes from documents is text on it.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from resources.core.errors import EvaluationError
from resources.core.visible import line
from resources.evaluation.measures import Interval

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATE = Path(__file__).parent / "template"
ROWS = 200
"""A table shows so many, and says how many it leaves out."""

WIDTH = 400
"""Characters of a cell, of a text and of a title that are shown."""

_LONG = 24
_NUMBER = re.compile(r"[-+<]? ?\$?\d[\d,.]*( ?[%A-Za-z]{1,3})?")
"""Text that is a number too: `+0.041`, `$12`, `3 ms`, `12 GB`; not `384 int8`."""

Cell = str | int | float | bool | Interval | None


@dataclass(frozen=True)
class Table:
    """Rows under the names of their columns.

    Attributes:
        columns: Their names.
        rows: As many cells each. Numbers stand on the right, floats with up to four decimals; an
            `Interval` is drawn too, all of a column on one scale.
        caption: What it shows.
        chosen: Rows that are set apart: what the pipeline has now.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    chosen: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Picture:
    """An image inside the page.

    Attributes:
        png: Its bytes.
        shows: What there is to see, for those who cannot.
        caption: Under it.
    """

    png: bytes
    shows: str
    caption: str = ""


@dataclass(frozen=True)
class Facts:
    """Names with what each is: how something was measured."""

    of: Mapping[str, Cell]


@dataclass(frozen=True)
class Command:
    """A line to type into a terminal."""

    line: str


@dataclass(frozen=True)
class Found:
    """One document of an answer: its text, title or id, and whether it was wanted."""

    text: str
    relevant: bool = False


@dataclass(frozen=True)
class Answers:
    """What one query found, side by side.

    Attributes:
        query: As it was asked.
        lists: By a name such as `before` and `now`, best first.
        note: What there is to say of it, such as its measure here and there.
        missed: Relevant documents that none of the lists has.
    """

    query: str
    lists: Mapping[str, Sequence[Found]]
    note: str = ""
    missed: Sequence[str] = ()


Part = str | Table | Picture | Facts | Command | Answers
"""What a section is made of; a `str` is a paragraph of plain text."""


@dataclass(frozen=True)
class Section:
    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Report:
    """All that is told.

    Attributes:
        title: Of the page.
        summary: Sentences, that which matters most first.
        sections: One after the other; those without parts are left out.
        made: When the measurement was.
    """

    title: str
    summary: Sequence[str]
    sections: Sequence[Section] = field(default_factory=list)
    made: datetime | None = None


def drawn(draw: Callable[[], bytes], shows: str, caption: str = "") -> Picture | str:
    """A picture, or the sentence why there is none: a report does not fail for want of it."""
    try:
        return Picture(draw(), shows, caption)
    except EvaluationError as error:
        return f"A picture is left out: {error}"


def page(report: Report) -> str:
    """The page, as HTML in one file."""
    style = (_TEMPLATE / "report.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        report=report,
        sections=[section for section in report.sections if section.parts],
        style=style,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    )


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "line": lambda value: line(value, WIDTH),
        "whole": line,
        "own_style": Markup,  # of our own file, and nothing else
        "data_uri": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
    }
    environment.globals |= {
        "kind": lambda part: type(part).__name__,
        "columns_of": _columns,
        "fact": lambda value: str(value) if isinstance(value, Interval) else _shown(value).text,
        "ROWS": ROWS,
    }
    return environment.get_template("report.html")


@dataclass(frozen=True)
class _Shown:
    """A cell as the template has it; `drawn` is of the interval: low, mean, high from 0 to 100."""

    text: str
    number: bool = False
    under: str = ""
    drawn: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class _Column:
    name: str
    cells: list[_Shown]

    @property
    def look(self) -> str:
        if any(cell.number for cell in self.cells):
            return "number"
        return "long" if max((len(cell.text) for cell in self.cells), default=0) > _LONG else ""


def _columns(table: Table) -> list[_Column]:
    rows = table.rows[:ROWS]
    return [
        _Column(name, _column([row[at] for row in rows])) for at, name in enumerate(table.columns)
    ]


def _column(cells: Sequence[Cell]) -> list[_Shown]:
    found = [each for each in cells if isinstance(each, Interval)]
    low = min((each.low for each in found), default=0.0)
    wide = max((each.high for each in found), default=1.0) - low
    decimals = max((_decimals(each) for each in cells if isinstance(each, float)), default=0)
    return [_shown(each, decimals, low, wide) for each in cells]


def _decimals(value: float) -> int:
    """So many that nothing is lost, up to four."""
    return len(f"{value:.4f}".rstrip("0").partition(".")[2])


def _shown(value: Cell, decimals: int = 4, low: float = 0.0, wide: float = 1.0) -> _Shown:
    match value:
        case Interval():
            # A column whose values are all the same has them in the middle.
            low, mean, high = (
                round(100 * (at - low) / wide, 2) if wide > 0 else 50.0
                for at in (value.low, value.mean, value.high)
            )
            under = f"{value.low:.3f} to {value.high:.3f}"
            return _Shown(f"{value.mean:.4f}", True, under, (low, mean, high))
        case None:
            return _Shown("")
        case bool():
            return _Shown("yes" if value else "no")
        case int():
            return _Shown(f"{value:,}", True)
        case float():
            return _Shown(f"{value:,.{decimals}f}", True)
    text = line(value, WIDTH)
    return _Shown(text, bool(_NUMBER.fullmatch(text)))
