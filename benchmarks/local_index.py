"""FAISS or USearch, and from how many vectors on a graph pays.

Run with `python -m benchmarks.local_index` (`pip install usearch` adds the second library).

Measured on 2026-11-23, 2 cores (AMD EPYC, AVX2), 384 dimensions, FAISS 1.15.1, USearch 2.26.

FAISS alone on the idle machine, 200,000 vectors, a tenth of them in parentheses:

    graph built in                      47 s   (4.8 s)
    exact, one query                    17 ms  (1.7 ms)
    graph, 200 steps, one query         0.4 ms (1.0 ms), recall 1.00
    50 % pass:  exact 18 ms, graph 400 steps 1.3 ms, recall 1.00
    10 % pass:  exact 4.2 ms, graph 2,000 steps 6.7 ms, recall 1.00
    5 % pass:   exact 2.0 ms, graph 200 steps 0.5 ms with recall 0.89, 4,000 steps 16 ms with 1.00
    0.5 % pass: exact 0.2 ms, graph 200 steps 0.5 ms with recall 0.20

Both libraries, 100,000 vectors, while other work kept the cores busy (compare, do not quote):

                         FAISS graph   USearch graph   exact
    built in             37 s          122 s           0.1 s
    all pass             1.5 ms 1.00   1.9 ms 1.00     12 to 17 ms
    50 % pass            1.6 ms 1.00   2.0 ms 1.00     12 ms
    5 % pass             19 ms  1.00   2.8 ms 0.91     2 to 3 ms
    0.5 % pass           697 ms 1.00   35 ms  0.96     0.5 ms (6 ms with evaluating the filter)

So: FAISS, whose filter is part of the search and which builds faster; a graph above 50,000 vectors,
where exact passes 10 ms at about 900 dimensions (at 384, above 110,000); and exact below a filter
once fewer than about sqrt(16 * candidates * vectors) documents pass.
"""

import argparse
import importlib.util
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.version import Version
from resources.search_index.query import Query

LIMIT = 10
CANDIDATES = 200
SHARES = (1.0, 0.5, 0.05, 0.005)


def clustered(count: int, dimensions: int, seed: int) -> np.ndarray:
    centres = np.random.default_rng(0).standard_normal((1000, dimensions), np.float32)
    random = np.random.default_rng(seed)
    found = centres[random.integers(0, len(centres), count)]
    found += 0.7 * random.standard_normal((count, dimensions), np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def measure(
    search: Callable[[np.ndarray], Any], queries: np.ndarray, truth: list[set]
) -> tuple[float, float]:
    """Milliseconds per query, and recall."""
    search(queries[0])
    start = time.perf_counter()
    found = [search(query) for query in queries]
    spent = (time.perf_counter() - start) / len(queries) * 1e3
    hits = sum(len(set(ids) & best) for ids, best in zip(found, truth, strict=True))
    return spent, hits / sum(map(len, truth))


def exact(vectors: np.ndarray, queries: np.ndarray, passing: np.ndarray) -> list[set]:
    near = np.where(passing, queries @ vectors.T, -2)
    return [set(row.tolist()) for row in np.argpartition(-near, LIMIT, axis=1)[:, :LIMIT]]


def compare(count: int, dimensions: int, queries: int, table: Table) -> None:
    vectors, asked = clustered(count, dimensions, 1), clustered(queries, dimensions, 2)
    draw = np.random.default_rng(3).random(count)

    start = time.perf_counter()
    flat = faiss.IndexFlatIP(dimensions)
    flat.add(vectors)
    flat_built = time.perf_counter() - start

    start = time.perf_counter()
    graph = faiss.IndexHNSWFlat(dimensions, 16, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = 100
    graph.add(vectors)
    graph_built = time.perf_counter() - start

    usearch, usearch_built = None, 0.0
    if importlib.util.find_spec("usearch"):
        from usearch.index import Index

        # connectivity as FAISS and Lucene have it: their lowest level takes twice as many
        usearch = Index(
            ndim=dimensions, metric="ip", dtype="f32", connectivity=16, expansion_add=100
        )
        start = time.perf_counter()
        usearch.add(np.arange(count), vectors, threads=faiss.omp_get_max_threads())
        usearch_built = time.perf_counter() - start

    start = time.perf_counter()
    shape = IndexShape(dimensions, "cosine", ("draw",))
    builder = SegmentBuilder(shape, expected=count)
    for first in range(0, count, 4096):
        part = slice(first, min(first + 4096, count))
        ids = list(range(part.start, part.stop))
        builder.add(ids, vectors[part], [{"draw": value} for value in draw[part].tolist()])
    ours = Version(shape, [builder.finish()])
    ours_built = time.perf_counter() - start

    for share in SHARES:
        passing = draw < share
        bits = np.packbits(passing, bitorder="little")
        selector = None if share == 1 else faiss.IDSelectorBitmap(bits)
        truth = exact(vectors, asked, passing)
        wide = int(CANDIDATES / share)

        def in_flat(query: np.ndarray, selector: Any = selector) -> list:
            parameters = faiss.SearchParameters(sel=selector)
            return flat.search(query[None], LIMIT, params=parameters)[1][0].tolist()

        def in_graph(query: np.ndarray, steps: int, selector: Any = selector) -> list:
            parameters = faiss.SearchParametersHNSW(efSearch=steps, sel=selector)
            return graph.search(query[None], LIMIT, params=parameters)[1][0].tolist()

        def in_usearch(query: np.ndarray, fetch: int, passing: np.ndarray = passing) -> list:
            usearch.expansion_search = max(fetch, CANDIDATES)
            keys = usearch.search(query, min(fetch, count)).keys
            return keys[passing[keys]][:LIMIT].tolist()

        def in_ours(query: np.ndarray, share: float = share, exact: bool = False) -> list:
            chosen = None if share == 1 else {"draw": {"$lt": share}}
            hits = ours.search(query, Query(limit=LIMIT, filter=chosen, exact=exact))
            return [hit.id for hit in hits]

        runs: list[tuple[str, float, Callable[[np.ndarray], list]]] = [
            ("FAISS Flat", flat_built, in_flat),
            (f"FAISS HNSW, {CANDIDATES} steps", graph_built, lambda q: in_graph(q, CANDIDATES)),
        ]
        if share < 1:
            runs.append(
                (f"FAISS HNSW, {wide} steps", graph_built, lambda q, w=wide: in_graph(q, w))
            )
        if usearch is not None:
            fetch = LIMIT if share == 1 else int(2 * LIMIT / share)
            runs.append(
                (f"USearch, fetching {fetch}", usearch_built, lambda q, f=fetch: in_usearch(q, f))
            )
        runs.append(("local engine", ours_built, in_ours))
        runs.append(("local engine, exact", ours_built, lambda q: in_ours(q, exact=True)))
        for name, built, search in runs:
            spent, recall = measure(search, asked, truth)
            table.add_row(
                f"{count:,}", f"{share:.1%}", name, f"{built:.1f}", f"{spent:.2f}", f"{recall:.3f}"
            )
        table.add_section()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[20_000, 50_000])
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--queries", type=int, default=30)
    arguments = parser.parse_args()
    table = Table(title=f"{arguments.dimensions} dimensions, {arguments.queries} queries")
    for name in ("vectors", "pass the filter", "engine", "built in s", "query ms", "recall@10"):
        table.add_column(name, justify="left" if name == "engine" else "right")
    for count in arguments.counts:
        compare(count, arguments.dimensions, arguments.queries, table)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
