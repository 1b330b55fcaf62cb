"""Reading keeps no more than a batch in memory, however long the source."""

import gzip
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pymongo
import pytest
from pyarrow import parquet
from pymongo.database import Database

from resources.sources.resource import SourceResource
from tests.resources.sources.reading import source

RECORDS = 60_000
TEXT = "word " * 20
PEAK_MIB = 4


def peak_of(
    resource: SourceResource, client: pymongo.MongoClient | None = None
) -> tuple[int, float]:
    next(iter(resource.read(client)))  # imports and caches are not the reading's own memory
    tracemalloc.start()
    try:
        count = sum(1 for _ in resource.read(client))
        return count, tracemalloc.get_traced_memory()[1] / 1024**2
    finally:
        tracemalloc.stop()


def rows(template: str, records: int) -> Iterator[str]:
    return (template.format(id=number, text=TEXT) for number in range(records))


def write_jsonl(path: Path, records: int) -> None:
    with path.open("w") as file:
        file.writelines(rows('{{"_id": {id}, "text": "{text}"}}\n', records))


def write_jsonl_gz(path: Path, records: int) -> None:
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(rows('{{"_id": {id}, "text": "{text}"}}\n', records))


def write_csv(path: Path, records: int) -> None:
    with path.open("w") as file:
        file.write("_id,text\n")
        file.writelines(rows('{id},"{text}"\n', records))


def write_parquet(path: Path, records: int) -> None:
    texts = [f"{number} {TEXT}" for number in range(records)]
    parquet.write_table(pa.table({"_id": range(records), "text": texts}), path)


@pytest.mark.parametrize(
    ("kind", "name", "writer", "records"),
    [
        # tracemalloc makes reading four times slower
        pytest.param("jsonl", "a.jsonl", write_jsonl, 200_000, marks=pytest.mark.slow),
        ("jsonl", "a.jsonl.gz", write_jsonl_gz, RECORDS),
        ("csv", "a.csv", write_csv, RECORDS),
        ("parquet", "a.parquet", write_parquet, RECORDS),
    ],
)
def test_files(tmp_path: Path, kind: str, name: str, writer: Any, records: int) -> None:
    writer(tmp_path / name, records)
    count, peak = peak_of(source({kind: {"path": str(tmp_path / name)}}))
    assert count == records
    assert peak < PEAK_MIB


def test_a_collection(database: Database) -> None:
    database.listings.insert_many({"_id": n, "text": TEXT * 20} for n in range(10_000))  # 20 MB
    origin = {"database": database.name, "collection": "listings", "batch_size": 500}
    count, peak = peak_of(source({"collection": origin}), database.client)
    assert count == 10_000
    assert peak < PEAK_MIB


def test_nothing_is_open_after_a_read_is_abandoned(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", RECORDS)
    records = source({"csv": {"path": str(tmp_path / "a.csv")}}).read(None)
    next(records)
    opened = Path("/proc/self/fd")
    if not opened.exists():
        pytest.skip("no /proc here")

    def is_open() -> bool:
        return any(fd.exists() and fd.resolve().name == "a.csv" for fd in opened.iterdir())

    assert is_open()
    records.close()  # type: ignore[attr-defined]
    assert not is_open()
