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
LONG_TEXT = TEXT * 4
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


def rows(template: str, text: str) -> Iterator[str]:
    return (template.format(id=number, text=text) for number in range(RECORDS))


def write_jsonl(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.writelines(rows('{{"_id": {id}, "text": "{text}"}}\n', text))


def write_jsonl_gz(path: Path, text: str) -> None:
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(rows('{{"_id": {id}, "text": "{text}"}}\n', text))


def write_csv(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write("_id,text\n")
        file.writelines(rows('{id},"{text}"\n', text))


def write_parquet(path: Path, text: str) -> None:
    texts = [f"{number} {text}" for number in range(RECORDS)]
    parquet.write_table(pa.table({"_id": range(RECORDS), "text": texts}), path)


@pytest.mark.parametrize(
    ("kind", "name", "writer", "text"),
    [
        # long lines, because tracemalloc makes every one of them expensive: 24 MiB
        ("jsonl", "a.jsonl", write_jsonl, LONG_TEXT),
        ("jsonl", "a.jsonl.gz", write_jsonl_gz, TEXT),
        ("csv", "a.csv", write_csv, LONG_TEXT),
        ("parquet", "a.parquet", write_parquet, TEXT),
    ],
    ids=["jsonl", "jsonl.gz", "csv", "parquet"],
)
def test_files(tmp_path: Path, kind: str, name: str, writer: Any, text: str) -> None:
    writer(tmp_path / name, text)
    count, peak = peak_of(source({kind: {"path": str(tmp_path / name)}}))
    assert count == RECORDS
    assert peak < PEAK_MIB


def test_a_collection(database: Database) -> None:
    database.listings.insert_many({"_id": n, "text": TEXT * 20} for n in range(10_000))  # 20 MB
    origin = {"database": database.name, "collection": "listings", "batch_size": 500}
    count, peak = peak_of(source({"collection": origin}), database.client)
    assert count == 10_000
    assert peak < PEAK_MIB


def test_nothing_is_open_after_a_read_is_abandoned(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", TEXT)
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
