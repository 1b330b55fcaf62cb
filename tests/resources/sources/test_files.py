import json
from pathlib import Path
from typing import Any

import pytest
from bson.objectid import ObjectId

import resources.sources.json_files
from resources.sources.records import SourceDocument
from tests.resources.sources.reading import lines, read, reasons, source, write


def test_jsonl(tmp_path: Path) -> None:
    path = write(
        tmp_path / "films.jsonl",
        lines(
            {
                "film": {"id": 1},
                "title": "A",
                "plot": "x",
                "kind": "short",
                "crew": {"n": 2, "m": 1},
            },
            {"film": {"id": 2}, "title": "B", "plot": "y\0z"},
        ),
    )
    settings: dict[str, Any] = {"id_field": "film.id", "text": "{title}: {plot}"}
    documents, rejections = read(
        source({"jsonl": {"path": path}}, carry=["kind", "crew.n"], **settings)
    )
    assert documents == [
        SourceDocument(1, "A: x", {"kind": "short", "crew": {"n": 2}}),
        SourceDocument(2, "B: y\0z", {}),
    ]
    assert not rejections


def test_what_mongoexport_writes(tmp_path: Path) -> None:
    oid = "65a1b2c3d4e5f60718293a4b"
    path = write(tmp_path / "export.json", lines({"_id": {"$oid": oid}, "text": "a"}))
    assert read(source({"jsonl": {"path": path}}))[0] == [SourceDocument(ObjectId(oid), "a")]


def test_bad_lines_of_jsonl(tmp_path: Path) -> None:
    bad = [
        (b"{not json}", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        (b'["a"]', "JSON, but not an object"),
        (b'"a"', "JSON, but not an object"),
        (b'{"_id": 1, "text": "caf\xe9"}', "not valid utf-8 at byte 24 of the line"),
        (b'{"_id": 1, "text": "a\\ud800"}', "text field 'text' is not valid UTF-8: it"),
        (b'{"_id": 1, "text": ""}', "text field 'text' is empty"),
        (b'{"_id": 1, "text": " \\n"}', "text field 'text' is only whitespace"),
        (b'{"_id": 1, "text": null}', "text field 'text' is null"),
        (b'{"_id": 1, "text": 5}', "text field 'text' is a number, not text"),
        (b'{"_id": 1, "text": true}', "text field 'text' is true or false, not text"),
        (b'{"_id": 1}', "text field 'text' is missing"),
        (b'{"text": "a"}', "id field '_id' is missing"),
        (b'{"_id": null, "text": "a"}', "id field '_id' is null"),
        (b'{"_id": [1], "text": "a"}', "id field '_id' is a list, which MongoDB refuses as an _id"),
        (
            b'{"_id": {"$gt": 1}, "text": "a"}',
            "id field '_id' is an object with a $-key, which MongoDB refuses as an _id",
        ),
        (b'{"_id": "\\ud800", "text": "a"}', "id field '_id' is not valid UTF-8: it holds"),
        (b'{"_id": 9999999999999999999, "text": "a"}', "id field '_id' holds an integer beyond 64"),
        (b'{"_id": 1, "text": "a", "n": 9999999999999999999}', "carried field 'n' holds an int"),
        (b'{"_id": 1, "text": "a", "n": {"$oid": "z"}}', "carried field 'n' cannot be stored"),
        (b"[" * 5000 + b"]" * 5000, "JSON that cannot be read"),
        (b'{"_id": 1' + b"0" * 5000 + b"}", "JSON that cannot be read"),
    ]  # fmt: skip
    good = b'{"_id": "last", "text": "a", "n": 1}'
    # Blank lines are no records, yet they count as lines.
    content = b"\n".join(line + b"\n \r" for line, _ in bad) + b"\n" + good
    documents, rejections = read(
        source({"jsonl": {"path": write(tmp_path / "bad.jsonl", content)}}, carry=["n"])
    )
    assert documents == [SourceDocument("last", "a", {"n": 1})]
    found = reasons(rejections)
    assert list(found) == [str(2 * n + 1) for n in range(len(bad))]
    for reason, (line, expected) in zip(found.values(), bad, strict=True):
        assert reason.startswith(expected), (line, reason)
    assert rejections[0].where == f"{tmp_path}/bad.jsonl:1"
    assert (rejections[0].id, rejections[0].excerpt) == (None, "{not json}")
    assert (rejections[5].id, rejections[5].excerpt) == (1, '{"_id": 1, "text": ""}')


def test_a_line_longer_than_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.sources.json_files, "LONGEST_LINE", 100)
    exact = json.dumps({"_id": 1, "text": "a" * 76})
    assert len(exact) == 98
    content = f"{exact}\n{'x' * 3_000_000}\n{exact}\n{exact}y{'x' * 200}"
    path = write(tmp_path / "long.jsonl", content)
    documents, rejections = read(source({"jsonl": {"path": path}}))
    assert len(documents) == 2
    assert list(reasons(rejections)) == ["2", "4"]


@pytest.mark.parametrize(
    ("encoding", "content"),
    [
        ("utf-8", b'\xef\xbb\xbf{"_id": 1, "text": "\xc3\xa9"}\r\n'),
        ("utf-8-sig", b'\xef\xbb\xbf{"_id": 1, "text": "\xc3\xa9"}'),
        ("cp1252", b'{"_id": 1, "text": "\xe9"}'),
    ],
)
def test_encodings_of_jsonl(tmp_path: Path, encoding: str, content: bytes) -> None:
    path = write(tmp_path / "a.jsonl", content)
    documents, _ = read(source({"jsonl": {"path": path, "encoding": encoding}}))
    assert [document.text for document in documents] == ["é"]


def test_the_limit_counts_rejected_records(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl", "x\n" + lines({"_id": 1, "text": "a"}, {"_id": 2, "text": "b"})
    )
    documents, rejections = read(source({"jsonl": {"path": path}}, limit=2))
    assert (len(documents), len(rejections)) == (1, 1)
