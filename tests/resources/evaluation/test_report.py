"""The page to hand around: everything is inside, nothing runs, and what it is given is text."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.core.visible import line
from resources.evaluation.measures import Interval
from resources.evaluation.report import (
    ROWS,
    WIDTH,
    Answers,
    Cell,
    Command,
    Facts,
    Found,
    Picture,
    Report,
    Section,
    Table,
    page,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PIECES = [
    "<script>alert(1)</script>", "</script>", "</style>", "<style>", "<img src=x onerror=alert(1)>",
    "<!--", "-->", "<![CDATA[", "]]>", "<svg/onload=alert(1)>", "</title>", "</table>", '"', "'",
    '" onmouseover="alert(1)', "javascript:alert(1)", "http://evil.example/x.png", "&lt;", "&amp",
    "&#60;script&#62;", "{{ 7*7 }}", "{% raw %}", "{#", "<a href=//evil.example>", "<base href=x>",
    "<meta http-equiv=", "<iframe>", "<", ">", "\x00", "\ud800", "\u202e", "\n", "`", "☂", "日本",
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), min_size=1, max_size=6).map("".join)
numbers = st.floats(0, 1)
cells: st.SearchStrategy[Cell] = (
    texts
    | st.none()
    | st.booleans()
    | st.integers(-(10**12), 10**12)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.builds(Interval, numbers, numbers, numbers)
)
VOID = {"meta", "img", "line", "circle"}
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "h1", "h2", "h3", "h4", "p", "time",
    "main", "section", "figure", "figcaption", "div", "table", "thead", "tbody", "tr", "th", "td",
    "span", "small", "svg", "line", "circle", "img", "dl", "dt", "dd", "pre", "code", "article",
    "ol", "ul", "li", "b",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "dir", "datetime", "class", "scope", "src",
    "alt", "tabindex", "viewbox", "aria-hidden", "x1", "y1", "x2", "y2", "cx", "cy", "r",
}  # fmt: skip


@dataclass
class Seen(HTMLParser):
    """What a page consists of; fails where it is not closed as it was opened."""

    text: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    alternatives: list[str] = field(default_factory=list)
    metas: dict[str, str] = field(default_factory=dict)
    style: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert tag in TAGS, tag
        assert found.keys() <= ATTRIBUTES, found
        if tag == "meta" and found.get("http-equiv"):
            self.metas[str(found["http-equiv"])] = str(found["content"])
        if tag == "img":
            self.sources.append(str(found["src"]))
            self.alternatives.append(str(found["alt"]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["style"]:
            self.style += data
        elif data.strip():
            self.text.append(data.strip())


def seen(text: str) -> Seen:
    found = Seen()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


@st.composite
def tables(draw: st.DrawFn) -> Table:
    columns = draw(st.lists(texts, min_size=1, max_size=4))
    row = st.lists(cells, min_size=len(columns), max_size=len(columns))
    return Table(columns, draw(st.lists(row, max_size=3)), draw(texts), frozenset([0]))


founds = st.lists(st.builds(Found, texts, st.booleans()), max_size=3)
parts = (
    texts
    | tables()
    | st.builds(Picture, st.just(PNG), texts, texts)
    | st.builds(Facts, st.dictionaries(texts, cells, max_size=3))
    | st.builds(Command, texts)
    | st.builds(
        Answers,
        texts,
        st.dictionaries(texts, founds, max_size=2),
        texts,
        st.lists(texts, max_size=2),
    )
)
reports = st.builds(
    Report,
    texts,
    st.lists(texts, max_size=2),
    st.lists(st.builds(Section, texts, st.lists(parts, max_size=3)), max_size=3),
    st.just(datetime(2026, 11, 26, 21, 40, tzinfo=UTC)) | st.none(),
)


@given(reports)
@settings(deadline=None, max_examples=60)
def test_no_text_becomes_markup_and_nothing_is_loaded_or_run(report: Report):
    made = page(report)
    assert made == page(report)
    made.encode()
    found = seen(made)
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)
    digest = base64.b64encode(hashlib.sha256(found.style.encode()).digest()).decode()
    policy = found.metas["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:;")
    assert "unsafe" not in policy
    assert "url(" not in found.style
    assert "@import" not in found.style
    # What was given is there, as it is.
    assert line(report.title, WIDTH) in {*found.text, ""}
    for said in report.summary:
        assert line(said) in {*found.text, ""}
    for section in report.sections:
        for part in section.parts:
            assert _said(part) <= {*found.text, *found.alternatives, ""}


def _said(part: Any) -> set[str]:
    match part:
        case str():
            return {line(part)}
        case Table():
            given = [*part.columns, part.caption]
            given += [cell for row in part.rows for cell in row if isinstance(cell, str)]
        case Picture():
            return {line(part.shows, WIDTH), line(part.caption)}
        case Facts():
            given = [*part.of, *(value for value in part.of.values() if isinstance(value, str))]
        case Command():
            given = [part.line]
        case Answers():
            given = [part.query, part.note, *part.missed, *part.lists]
            given += [each.text for listed in part.lists.values() for each in listed]
    return {line(text, WIDTH) for text in given}


def shown(*parts: Any) -> list[str]:
    return seen(page(Report("t", [], [Section("s", parts)]))).text


def test_numbers_stand_in_columns_of_one_precision():
    rows = [[0.5, 1_000, "x"], [0.1234, -7, None], [2, 3, True]]
    text = shown(Table(["a", "b", "c"], rows))
    wanted = ["0.5000", "1,000", "x", "0.1234", "-7", "2", "3", "yes"]
    assert text[text.index("c") + 1 :] == wanted


@pytest.mark.parametrize(
    ("text", "number"),
    [("0.31 ms", True), ("70.4 kB", True), ("384 int8", False), ("words", False)],
)
def test_what_is_written_as_a_number_stands_on_the_right(text: str, number: bool):
    made = page(Report("t", [], [Section("s", [Table(["a"], [[text]])])]))
    assert ('<td class="number">' in made) is number


def test_intervals_of_a_column_are_drawn_on_one_scale():
    rows = [[Interval(0.5, 0.4, 0.6)], [Interval(0.7, 0.6, 0.8)]]
    drawn = re.findall(r'x1="([\d.]+)".*?x2="([\d.]+)".*?cx="([\d.]+)"', page(_of(rows)))
    assert drawn == [("0.0", "50.0", "25.0"), ("50.0", "100.0", "75.0")]
    alone = [[Interval(0.5, 0.5, 0.5)]]
    assert 'x1="50.0"' in page(_of(alone))


def _of(rows: list[list[Cell]]) -> Report:
    return Report("t", [], [Section("s", [Table(["nDCG@10"], rows)])])


def test_what_a_long_table_leaves_out_is_said():
    text = shown(Table(["a"], [[f"row {at}"] for at in range(ROWS + 1_000)]))
    assert f"row {ROWS - 1}" in text
    assert f"row {ROWS}" not in text
    assert "1,000 more rows are left out." in text


def test_a_section_without_parts_is_left_out():
    assert "empty" not in seen(page(Report("t", [], [Section("empty", [])]))).text


def test_a_very_long_text_is_cut():
    text = shown(Answers("q" * 10_000_000, {"now": [Found("f" * 10_000)]}))
    assert max(map(len, text)) == WIDTH
