import datetime
import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pytest
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from resources.core.errors import SourceError
from resources.sources.parquet_values import PER_SECOND, _record, records
from resources.sources.records import SourceDocument
from resources.sources.values import bson_value
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


FAR = {"s": 10**12, "ms": 10**15, "us": 2**63 - 1, "ns": 2**63 - 1}


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Brussels"])
@pytest.mark.parametrize(
    "wrapped",
    [
        lambda kind: ([1], kind),
        lambda kind: ([[1, None]], pa.list_(kind)),
        lambda kind: ([[1, None]], pa.large_list(kind)),
        lambda kind: ([[1, None]], pa.list_(kind, 2)),
        lambda kind: ([[1, None]], pa.list_view(kind)),
        lambda kind: ([[1, None]], pa.large_list_view(kind)),
        lambda kind: ([[("k", 1)]], pa.map_(pa.string(), kind)),
        lambda kind: (
            [{"a": [{"b": 1}]}],
            pa.struct([("a", pa.large_list(pa.struct([("b", kind)])))]),
        ),
        lambda kind: ([[[("k", [1])]]], pa.list_(pa.map_(pa.string(), pa.list_(kind, 1)))),
    ],
)  # fmt: skip
def test_times_wherever_they_are(
    tmp_path: Path, unit: str, zone: str | None, wrapped: Callable[..., Any]
) -> None:
    """Also where one of them is beyond Python's range, and another row's is not."""
    value, kind = wrapped(pa.timestamp(unit, zone))
    one = datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.UTC if zone else None)
    in_units = 1_704_164_645 * PER_SECOND[unit]

    def put(number: Any) -> Any:
        def inside(shape: Any) -> Any:
            if isinstance(shape, list | tuple):
                return type(shape)(map(inside, shape))
            if isinstance(shape, dict):
                return {key: inside(inner) for key, inner in shape.items()}
            return number if shape == 1 else shape

        return bson_value(inside(value)[0]) if not isinstance(number, int) else inside(value)[0]

    array = pa.array([put(in_units), put(FAR[unit])], kind)
    far = FAR[unit] * 1000 if unit == "s" else FAR[unit] // (PER_SECOND[unit] // 1000)
    far_value = DatetimeMS(far)
    if unit == "ns":
        far_value = far_value.as_datetime().replace(tzinfo=one.tzinfo)
    origin = store(tmp_path / "a.parquet", {"_id": [1, 2], "text": ["a", "b"], "v": array})
    documents, rejections = read(source(origin, carry=["v"]))
    assert not rejections
    assert [one.fields["v"] for one in documents] == [put(one), put(far_value)]


def test_a_dictionary_of_times(tmp_path: Path) -> None:
    """Parquet writes no such column, but Arrow makes one."""
    kind = pa.timestamp("ns")
    array = pa.DictionaryArray.from_arrays(pa.array([0, 0, None]), pa.array([NS], kind))
    batch = pa.RecordBatch.from_arrays([array], ["v"])
    assert list(records(batch)) == [{"v": MOMENT}, {"v": MOMENT}, {"v": None}]


SCALARS = [
    *(pa.timestamp(unit, zone) for unit in PER_SECOND for zone in (None, "UTC")),
    *(pa.duration(unit) for unit in PER_SECOND),
    pa.date32(), pa.time64("ns"), pa.time64("us"), pa.time32("s"), pa.int64(),
]  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(SCALARS),
    st.lists(st.none() | st.integers(0, 80_000), min_size=1, max_size=4),
    st.booleans(),
)
def test_value_by_value_is_the_same_as_at_once(
    kind: pa.DataType, values: list[int | None], listed: bool
) -> None:
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        values = [value and (value - 40_000) * 1_234_567 for value in values]
    array = pa.array([values] if listed else values, pa.list_(kind) if listed else kind)
    batch = pa.RecordBatch.from_arrays([array], ["v"])
    at_once = [bson_value(record) for record in records(batch)]
    one_by_one = [bson_value(_record(batch, row)) for row in range(batch.num_rows)]
    assert at_once == one_by_one


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 2200),
    st.data(),
    st.sampled_from(["text", "n", "far", "id"]),
)
def test_one_bad_row_costs_no_other(
    tmp_path_factory: pytest.TempPathFactory, count: int, data: st.DataObject, which: str
) -> None:
    bad = data.draw(st.integers(0, count - 1))
    texts = [b"caf\xe9" if n == bad and which == "text" else b"good" for n in range(count)]
    notes = [b"\xff" if n == bad and which == "n" else b"n" for n in range(count)]
    numbers = [10**50 + 1 if n == bad and which == "far" else n for n in range(count)]
    nested = [[{"a": "x"}] for _ in range(count)]
    ids = [None if n == bad and which == "id" else n for n in range(count)]
    origin = store(
        tmp_path_factory.mktemp("rows") / "a.parquet",
        {
            "_id": ids,
            "text": pa.array(texts).view(pa.string()),
            "n": pa.array(notes).view(pa.string()),
            "number": pa.array(map(decimal.Decimal, numbers), pa.decimal256(60)),
            "at": pa.array([2**63 - 1] * count, pa.timestamp("us")),
            "nested": nested,
        },
    )
    documents, rejections = read(source(origin, carry=["n", "number", "at", "nested"]))
    assert [one.id for one in documents] == [n for n in range(count) if n != bad]
    assert [one.where.rpartition(":")[2] for one in rejections] == [str(bad + 1)]


def test_strings_that_are_not_utf_8(tmp_path: Path) -> None:
    wrong = pa.array([b"caf\xe9", b"good"]).view(pa.string())
    origin = store(tmp_path / "a.parquet", {"_id": [1, 2], "text": wrong})
    documents, rejections = read(source(origin))
    assert documents == [SourceDocument(2, "good")]
    assert reasons(rejections) == {"1": "column 'text' holds text that is not UTF-8: the byte 0xe9"}


@pytest.mark.parametrize("groups", [10_000, 70])
@pytest.mark.parametrize("dictionary", [True, False])
def test_large_rows_are_read_a_few_at_a_time(tmp_path, monkeypatch, groups, dictionary):
    sizes = [10, 3_000, 50_000, 700] * 50
    columns = {
        "_id": list(range(200)),
        "text": [f"text {n}" for n in range(200)],
        "film": [{"plot": "x" * size} for size in sizes],
        "unused": ["y" * 90_000] * 200,
    }
    options = {"row_group_size": groups, "use_dictionary": dictionary, "write_batch_size": 4}
    origin = store(tmp_path / "a.parquet", columns, **options)
    monkeypatch.setattr("resources.sources.parquet.WINDOW_BYTES", 200_000)
    held = []

    def measured(batch):
        held.append((batch.num_rows, batch.to_pydict()))
        return records(batch)

    monkeypatch.setattr("resources.sources.parquet.records", measured)
    documents, rejections = read(source(origin, carry=["film.plot"]))
    assert not rejections
    assert [document.id for document in documents] == columns["_id"]
    assert [len(document.fields["film"]["plot"]) for document in documents] == sizes
    assert max(rows for rows, _ in held) < 40
    plots = [sum(len(film["plot"]) for film in values["film"]) for _, values in held]
    assert max(plots) < 2 * 200_000
    assert sum(rows for rows, _ in held) == 200


def test_small_rows_are_read_many_at_a_time(tmp_path, monkeypatch):
    columns = {"_id": list(range(3_000)), "text": [f"text {n}" for n in range(3_000)]}
    origin = store(tmp_path / "a.parquet", columns)
    held = []

    def measured(batch):
        held.append(batch.num_rows)
        return records(batch)

    monkeypatch.setattr("resources.sources.parquet.records", measured)
    documents, _ = read(source(origin))
    assert len(documents) == 3_000
    assert held == [1_000] * 3
