import datetime
import decimal
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson.decimal128 import Decimal128
from pyarrow import parquet

from resources.errors import SourceError
from resources.sources.records import SourceDocument
from tests.resources.sources.reading import read, reasons, source, write

MOMENT = datetime.datetime(2024, 1, 2, 3, 4, 5, 678000)
NS = 1_704_164_645_678_901_234  # MOMENT, and 901234 nanoseconds


def store(path: Path, columns: dict[str, Any], **options: Any) -> dict[str, dict[str, str]]:
    parquet.write_table(pa.table(columns), path, **options)
    return {"parquet": {"path": str(path)}}


def test_rows(tmp_path: Path) -> None:
    origin = store(
        tmp_path / "a.parquet",
        {
            "id": [1, 2],
            "film": [{"title": "A", "year": 1}, {"title": "B", "year": 2}],
            "kind": ["x", None],
        },
    )
    documents, rejections = read(
        source(origin, id_field="id", text="{film.title}", carry=["kind", "film.year", "absent"])
    )
    assert documents == [
        SourceDocument(1, "A", {"kind": "x", "film": {"year": 1}}),
        SourceDocument(2, "B", {"kind": None, "film": {"year": 2}}),
    ]
    assert not rejections


def test_bad_rows(tmp_path: Path) -> None:
    origin = store(tmp_path / "a.parquet", {"_id": [1, None, 3, 4], "text": ["a", "b", "", None]})
    documents, rejections = read(source(origin))
    assert [document.id for document in documents] == [1]
    assert reasons(rejections) == {
        "2": "id field '_id' is null",
        "3": "text field 'text' is empty",
        "4": "text field 'text' is null",
    }


@pytest.mark.parametrize(
    ("array", "value"),
    [
        (pa.array([NS], pa.timestamp("ns")), MOMENT),
        (
            pa.array([NS], pa.timestamp("ns", "Europe/Brussels")),
            MOMENT.replace(tzinfo=datetime.UTC),
        ),
        (pa.array([[NS]], pa.list_(pa.timestamp("ns"))), [MOMENT]),
        (pa.array([{"at": NS}], pa.struct([("at", pa.timestamp("ns"))])), {"at": MOMENT}),
        (pa.array([MOMENT], pa.timestamp("us")), MOMENT),
        (pa.array([1_000], pa.time64("ns")), "00:00:00.000001"),
        (pa.array([1_500_000_001], pa.duration("ns")), 1.5),
        (pa.array([MOMENT.date()]), datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC)),
        (pa.array([decimal.Decimal("1.10")]), Decimal128("1.10")),
        (pa.array([0.5], pa.float16()), 0.5),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int32())), {"k": 1}),
        (pa.array([b"ab"]), b"ab"),
    ],
)
def test_types(tmp_path: Path, array: pa.Array, value: Any) -> None:
    origin = store(tmp_path / "a.parquet", {"_id": [1], "text": ["a"], "v": array})
    documents, rejections = read(source(origin, carry=["v"]))
    assert not rejections
    assert documents[0].fields == {"v": value}
    bson.encode(documents[0].fields)


def test_only_needed_columns_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"_id": [1], "text": ["a"], "vector": [[0.5]], "n": [{"m": 1, "k": 2}]}
    origin = store(tmp_path / "a.parquet", columns)
    asked = []
    iter_batches = parquet.ParquetFile.iter_batches

    def recorded(self: Any, *args: Any, **options: Any) -> Any:
        for batch in iter_batches(self, *args, **options):
            asked.append(batch.to_pylist())
            yield batch

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", recorded)
    read(source(origin, carry=["n.k"]))
    assert asked == [[{"_id": 1, "text": "a", "n": {"k": 2}}]]


def test_several_batches_and_the_limit(tmp_path: Path) -> None:
    rows = {"_id": list(range(2500)), "text": ["a"] * 2499 + [""]}
    origin = store(tmp_path / "a.parquet", rows, row_group_size=700)
    documents, rejections = read(source(origin))
    assert [document.id for document in documents] == list(range(2499))
    assert list(reasons(rejections)) == ["2500"]
    assert len(read(source(origin, limit=1200))[0]) == 1200


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "no column '_id', .* id_field asks for: its columns are 'id', 'film', 'a.b'"),
        ({"id_field": "id", "text": "film.plot"}, "no column 'film.plot', .* setting text"),
        ({"id_field": "id", "text": "{film.title} {plot}"}, "no column 'plot', .* setting text"),
        ({"id_field": "id.x", "text": "a.b"}, "no column 'id.x'"),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, settings: Any, sentence: str) -> None:
    columns = {"id": [1], "film": [{"title": "A"}], "a.b": ["x"]}
    origin = store(tmp_path / "a.parquet", columns)
    with pytest.raises(SourceError, match=sentence):
        read(source(origin, **settings))
    assert read(source(origin, id_field="id", text="a.b"))[0] == [SourceDocument(1, "x")]


@pytest.mark.parametrize("content", [b"", b"_id,text\n1,a\n" * 9])
def test_files_that_are_no_parquet(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "a.parquet", content)
    with pytest.raises(SourceError, match=f"{path} is not a Parquet file: "):
        read(source({"parquet": {"path": path}}))


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    origin = store(path, {"_id": list(range(5000)), "text": [f"text {n}" for n in range(5000)]})
    content = bytearray(path.read_bytes())
    content[4:2000] = bytes(1996)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"^{path} "):
        read(source(origin))


def test_strings_that_are_not_utf_8(tmp_path: Path) -> None:
    wrong = pa.array([b"caf\xe9"]).view(pa.string())
    origin = store(tmp_path / "a.parquet", {"_id": [1], "text": wrong})
    with pytest.raises(SourceError, match=r"is damaged after row 0: .*utf-8"):
        read(source(origin))
