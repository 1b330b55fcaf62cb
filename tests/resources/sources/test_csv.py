"""CSV: every way to write it, and what damage costs."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from resources.core.errors import SourceError
from resources.sources.csv_files import ADVICE
from resources.sources.records import SourceDocument
from tests.resources.sources.reading import read, reasons, source, write


def test_csv(tmp_path: Path) -> None:
    content = '\ufeffid;text;n\r\n1;"two\r\nlines; ""quoted""";x\r\n\r\n2;b;\r\n'
    origin = {"csv": {"path": write(tmp_path / "a.csv", content), "delimiter": ";"}}
    documents, rejections = read(source(origin, id_field="id", carry=["n", "absent"]))
    assert documents == [
        SourceDocument("1", 'two\r\nlines; "quoted"', {"n": "x"}),
        SourceDocument("2", "b", {"n": ""}),
    ]
    assert not rejections


def test_a_cell_larger_than_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"_id,text\n1,{'a' * 500_000}\n")
    assert len(read(source({"csv": {"path": path}}))[0][0].text) == 500_000


def test_bad_rows_of_csv(tmp_path: Path) -> None:
    malformed = "malformed CSV: ',' expected after '\"'"
    stray = "malformed CSV: a quote within a cell that does not begin with one"
    rows = [
        ('1,"a\nb",x', None),
        ("1,a", "2 columns where the header has 3"),
        ("1,a,b,c", "4 columns where the header has 3"),
        (",a,b", "id field '_id' is missing"),
        ("1,,b", "text field 'text' is empty"),
        ("1, ,b", "text field 'text' is only whitespace"),
        ("1,a,b\0", "holds the character NUL, as no text does"),
        ("1,a\xff,b", "not valid utf-8: it holds the byte 0xff"),
        ('1,12" of snow,c', f"{stray} ({ADVICE})"),
        ('1, "quoted, after a space",c', f"{stray} ({ADVICE})"),
        ('1,"a" b,c', f"{malformed} ({ADVICE})"),
        ("2,a,b", None),
        ('3,"never closed', f"malformed CSV: unexpected end of data ({ADVICE})"),
    ]
    content = "_id,text,n\n" + "\n".join(row for row, _ in rows)
    path = write(tmp_path / "a.csv", content.encode("latin-1"))
    documents, rejections = read(source({"csv": {"path": path}}))
    assert [document.id for document in documents] == ["1", "2"]
    assert list(reasons(rejections).items()) == [
        (str(number), reason)
        for number, (_, reason) in enumerate(rows, start=3)
        if reason is not None
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty: its first row must name the columns"),
        (b"id,text\n", "has no column '_id', .* id_field asks for: its columns are 'id', 'text'"),
        (b"_id, text\n", "has no column 'text', .* text asks for: its columns are '_id', ' text'"),
        (b"_id,text,text\n", "has several columns 'text'"),
        (b'_id,"text\n', "the row of column names is malformed"),
        (b"_id,text\xe9\n1,a\n", "is not utf-8: set `encoding` of origin csv"),
        ("_id,text\n".encode("utf-16"), "is not utf-8: set `encoding`"),
        ("_id,text\n".encode("utf-16-le"), "is not utf-8: set `encoding`"),
    ],
)
def test_csv_files_that_cannot_be_read(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = write(tmp_path / "a.csv", content)
    with pytest.raises(SourceError, match=sentence) as raised:
        read(source({"csv": {"path": path}}))
    assert str(raised.value).startswith(path)


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    for encoding in ("cp1252", "utf-16"):
        path = write(tmp_path / "a.csv", "_id,text\n1,café\n".encode(encoding))
        documents, _ = read(source({"csv": {"path": path, "encoding": encoding}}))
        assert documents == [SourceDocument("1", "café")]


def test_every_file_of_a_glob_has_its_own_columns(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "_id,text\n1,a\n")
    write(tmp_path / "2.csv", "text,_id\nb,2\n")
    write(tmp_path / "3.csv", "_id\n3\n")
    records = source({"csv": {"path": f"{tmp_path}/*.csv"}}).read(None)
    assert [next(records), next(records)] == [SourceDocument("1", "a"), SourceDocument("2", "b")]
    with pytest.raises(SourceError, match=r"3\.csv has no column 'text'"):
        next(records)


@pytest.mark.parametrize(
    ("content", "settings", "found"),
    [
        ('1\t"never closed\n2\ta "fine" one\n3\t12" of snow\n', {"delimiter": "\t", "quote": None},
         ['"never closed', 'a "fine" one', '12" of snow']),
        ("1,'it''s, quoted'\n2,\"a\"\n", {"quote": "'"}, ["it's, quoted", '"a"']),
        ('1,"a \\"b\\", c"\n2,a\\,b\n', {"escape": "\\", "double_quote": False},
         ['a "b", c', "a,b"]),
        ('1,"a ""b"" \\"c"\n', {"escape": "\\"}, ['a "b" "c']),
        ('1, "a, b"\n2,  c\n', {"skip_initial_space": True}, ["a, b", "c"]),
        ('1,"two\nlines"\n2,b\n', {}, ["two\nlines", "b"]),
    ],
)  # fmt: skip
def test_dialects(tmp_path: Path, content: str, settings: dict[str, Any], found: list[str]) -> None:
    path = write(tmp_path / "a.csv", content)
    origin = {"csv": {"path": path, "header": False, "columns": ["_id", "text"], **settings}}
    documents, rejections = read(source(origin))
    assert documents == [SourceDocument(str(n), text) for n, text in enumerate(found, start=1)]
    assert not rejections


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"delimiter": ",,"}, "one character"),
        ({"quote": ""}, "one character"),
        ({"escape": "\n"}, "one character"),
        ({"quote": ","}, "different characters"),
        ({"escape": '"'}, "different characters"),
        ({"header": False}, "`header: false` and `columns` together"),
        ({"columns": ["a"]}, "`header: false` and `columns` together"),
        ({"header": False, "columns": ["a", "a"]}, "names one twice"),
        ({"delimiter": " ", "skip_initial_space": True}, "a sign of its own"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        source({"csv": {"path": "a.csv", **settings}})


def test_lone_quotes_without_settings(tmp_path: Path) -> None:
    """No document is made of a piece of a row, and all lines are accounted for."""
    content = '_id\ttext\n1\t"never closed\n2\ta second "fine" one\n3\t12" of snow\n4\tb\n'
    path = write(tmp_path / "a.tsv", content)
    documents, rejections = read(source({"csv": {"path": path, "delimiter": "\t"}}))
    assert documents == [SourceDocument("4", "b")]
    assert [rejection.where for rejection in rejections] == [f"{path}:2-4"]
    assert "lines 2 to 4 are left out, because no row is certain" in rejections[0].reason
