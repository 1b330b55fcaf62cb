"""Damage in one row of a CSV file: no piece of it is a document, and nothing is left unsaid."""

import csv
import io
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st

import resources.sources.csv_dialect
import resources.sources.csv_rows
from resources.sources.csv_dialect import OUTSIDE, Dialect
from resources.sources.records import SourceDocument
from tests.resources.sources.reading import read, source, write

CELLS = st.text(st.sampled_from('ab,"\n '), max_size=8).map(lambda text: f"x{text}") | st.text(
    st.sampled_from('a,"\n'), max_size=6
)
ROWS = st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=8)
KINDS = ("stray quote", "lost quote", "wrong byte", "NUL", "cell more", "cell less")


@dataclass(frozen=True)
class Written:
    """A file of three columns, row by row."""

    rows: list[tuple[str, str, str]]
    lines: list[str]

    @classmethod
    def of(cls, cells: list[tuple[str, str]], quoting: Any) -> "Written":
        rows = [(f"x{number}", f"t{one}", two) for number, (one, two) in enumerate(cells)]
        lines = []
        for row in rows:
            text = io.StringIO()
            csv.writer(text, quoting=quoting, lineterminator="\n").writerow(row)
            lines.append(text.getvalue())
        return cls(rows, lines)


def damaged(line: str, kind: str, at: int) -> str:
    body = line[:-1]
    at %= len(body) + 1
    if kind == "stray quote":
        return body[:at] + '"' + body[at:] + "\n"
    if kind == "lost quote":
        places = [place for place, sign in enumerate(body) if sign == '"']
        assume(places)
        gone = places[at % len(places)]
        return body[:gone] + body[gone + 1 :] + "\n"
    if kind in ("wrong byte", "NUL"):
        return body[:at] + ("\udcff" if kind == "wrong byte" else "\0") + body[at:] + "\n"
    return body + ",more\n" if kind == "cell more" else body.rpartition(",")[0] + "\n"


def misread(text: str, rows: set[tuple[str, ...]]) -> bool:
    """Whether the damage makes another well-formed row: no reader can tell that it is one."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        before = reader.line_num
        try:
            row = next(reader, None)
        except csv.Error:
            return False
        if row is None:
            return False
        raw = "".join(text.splitlines(keepends=True)[before : reader.line_num])
        if len(row) != 3 or not Dialect().is_row(raw) or "\0" in raw or "\udcff" in raw:
            return False
        if tuple(row) not in rows:
            return True


@settings(deadline=None, max_examples=300)
@given(
    ROWS,
    st.integers(0, 7),
    st.sampled_from(KINDS),
    st.integers(0, 60),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@example([("a", "b"), ('x\ny,"z"', "c"), ("d", "e")], 1, "stray quote", 3, csv.QUOTE_MINIMAL)
def test_what_one_damaged_row_costs(
    tmp_path_factory: pytest.TempPathFactory,
    cells: list[tuple[str, str]],
    which: int,
    kind: str,
    at: int,
    quoting: Any,
) -> None:
    written = Written.of(cells, quoting)
    which %= len(cells)
    lines = list(written.lines)
    lines[which] = damaged(lines[which], kind, at)
    text = "".join(lines)
    assume(text != "".join(written.lines))
    assume(not misread(text, set(written.rows)))
    path = write(
        tmp_path_factory.mktemp("csv") / "a.csv",
        b"_id,text,n\n" + text.encode("utf-8", "surrogateescape"),
    )
    documents, rejections = read(source({"csv": {"path": path}}, carry=["n"]))
    found = [(one.id, one.text, one.fields["n"]) for one in documents]
    assert [row for row in written.rows if row in found] == found, "no piece, and in order"
    assert written.rows[which] not in found
    named = set()
    for rejection in rejections:
        first, _, last = rejection.where.rpartition(":")[2].partition("-")
        named |= set(range(int(first), int(last or first) + 1))
    line = 2
    for number, (row, raw) in enumerate(zip(written.rows, lines, strict=True)):
        own = range(line, line + raw.count("\n"))
        assert (row in found) != (not named.isdisjoint(own)), (number, row)
        line += raw.count("\n")
    event(f"{kind}: {len(written.rows) - len(found)} rows lost")


@pytest.mark.parametrize("kind", KINDS)
def test_rows_without_quotes_cost_no_other(tmp_path_factory, kind: str) -> None:
    @settings(deadline=None, max_examples=50)
    @given(st.integers(0, 9), st.integers(0, 60))
    def check(which: int, at: int) -> None:
        lines = [f"{number},text {number},n\n" for number in range(10)]
        # where a lone quote opens a cell, no later quote shows that it is not closed
        opens = kind == "stray quote" and at % len(lines[which]) in (0, 2, 9)
        if kind == "lost quote":
            lines[which] = f'{which},text "{which},n\n'
        else:
            lines[which] = damaged(lines[which], kind, at)
        path = write(
            tmp_path_factory.mktemp("csv") / "a.csv",
            b"_id,text,n\n" + "".join(lines).encode("utf-8", "surrogateescape"),
        )
        documents, rejections = read(source({"csv": {"path": path}}))
        if opens:
            assert [one.id for one in documents] == [str(n) for n in range(which)]
            assert len(rejections) == 1
        else:
            assert [one.id for one in documents] == [str(n) for n in range(10) if n != which]
            assert [one.where for one in rejections] == [f"{path}:{which + 2}"]

    check()


def test_rows_in_quotes_show_where_an_unclosed_one_ends(tmp_path) -> None:
    rows = "".join(f'"{number}","text, {number}"\n' for number in range(50))
    path = write(tmp_path / "a.csv", f'_id,text\n{rows}"x","never closed\n{rows}')
    documents, (rejection,) = read(source({"csv": {"path": path}}))
    assert len(documents) == 99
    assert rejection.where == f"{path}:52-53"


def test_an_unclosed_quote_costs_memory_for_one_field_only(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resources.sources.csv_rows, "LONGEST_FIELD", 10_000)
    limit = csv.field_size_limit(10_000)
    monkeypatch.setattr(csv, "field_size_limit", lambda *_: 10_000)
    try:
        rows = "".join(f"{number},text\n" for number in range(20_000))
        path = write(tmp_path / "a.csv", f'_id,text\nx,"never closed\n{rows}')
        documents, rejections = read(source({"csv": {"path": path}}))
    finally:
        monkeypatch.undo()
        csv.field_size_limit(limit)
    assert len(rejections) == 1
    assert len(documents) > 18_000
    assert documents[-1] == SourceDocument("19999", "text")


def test_a_line_longer_than_any_row(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(resources.sources.csv_rows, "LONGEST_LINE", 100)
    path = write(tmp_path / "a.csv", f"_id,text\n1,a\n2,{'x' * 300}\n3,b\n4,{'y' * 95}\n5,c")
    documents, rejections = read(source({"csv": {"path": path}}))
    assert [one.id for one in documents] == ["1", "3", "4", "5"]
    assert [one.where for one in rejections] == [f"{path}:3"]


@settings(max_examples=500)
@given(
    st.text(st.sampled_from("ab,\"\\\n '"), max_size=30),
    st.sampled_from([None, "\\", "'"]),
    st.booleans(),
    st.booleans(),
)
def test_a_line_means_what_the_csv_module_reads(text, escape, double, skip) -> None:
    """Where quotes are in their places, state after state comes to the same as reading at once."""
    dialect = Dialect(escape=escape, double_quote=double, skip_initial_space=skip)
    line = text.replace("\n", "") + "\n"
    try:
        (row,) = [row for row in dialect.reader(iter([line])) if row]
    except (csv.Error, ValueError):
        return
    if not dialect.is_row(line):
        return
    assert dialect.after(line, OUTSIDE, len(row)) == OUTSIDE
    assert dialect.after(line, OUTSIDE, len(row) + 1) is None
