"""What the pipeline's embedder makes of a local model, against bare `SentenceTransformer.encode`.

Run with `python -m benchmarks.local_model`. Both embed the same texts, by turns; ours in embedding
batches of 1,000, with its token counts and checks, the bare one in a single call.

Measured on 2026-11-23, 2 cores, sentence-transformers 6.2, torch 2.13, medians of 3, while other
work kept the cores busy (load 3 to 5: the core seconds compare better than the clock):

    model    texts                          seconds   core seconds   speed   by core seconds
    static   50,000   bare                  12.2      16.5           100 %   100 %
                      bare, passes of 1024   6.8       7.8           179 %   212 %
                      ours                   4.4       7.5           278 %   219 %
    MiniLM    1,500   bare                  68.1      61.2           100 %   100 %
                      ours                  69.0      54.9            99 %   111 %

So: MiniLM level on the clock with less work; the static model faster for its larger passes.

Estimated for 8,000 such texts from the core seconds of a pass by its length: sorting by tokens
instead of characters saves a tenth of MiniLM's work (271 instead of 301 core seconds); sorting over
eight embedding batches instead of one would save another 4 % (260), which is not worth having eight
batches in flight. Counting tokens costs 0.12 core seconds per 1,000 texts, 0.3 %.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from resources.core.paths import CODE_ROOT
from resources.embedders.resource import EmbedderResource
from resources.embedders.sentence_transformers import (
    SentenceTransformersEmbedder,
    SentenceTransformersProvider,
)
from tests.models import build_static_model

BATCH = 1000


def mixed(count: int, seed: int = 0) -> list[str]:
    """Pieces of the quickstart's texts, 3 to 140 words: many short, few long."""
    lines = (CODE_ROOT / "configs" / "quickstart.jsonl").read_text("utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    words = " ".join(str(value) for document in documents for value in document.values()).split()
    draw = random.Random(seed)
    lengths = [max(3, min(140, int(draw.lognormvariate(3.2, 0.9)))) for _ in range(count)]
    starts = [draw.randrange(len(words) - length) for length in lengths]
    return [
        " ".join(words[start : start + length])
        for start, length in zip(starts, lengths, strict=True)
    ]


def timed(work: Callable[[], np.ndarray]) -> tuple[float, float, np.ndarray]:
    """Seconds on the clock, seconds of all cores, and what came of it."""
    clock, cores = time.perf_counter(), time.process_time()
    made = work()
    return time.perf_counter() - clock, time.process_time() - cores, made


def compare(name: str, model: str, texts: list[str], repeats: int, table: Table) -> None:
    provider = SentenceTransformersProvider(model=model, device="cpu", truncate=True)
    with EmbedderResource(provider=provider).open() as embedder:
        assert isinstance(embedder, SentenceTransformersEmbedder)
        bare_model = provider.load(provider.find())

        def ours() -> np.ndarray:
            batches = ((at, texts[at : at + BATCH]) for at in range(0, len(texts), BATCH))
            return np.concatenate([reply.vectors for _, reply in embedder.embed_batches(batches)])

        def bare(batch_size: int = 32) -> np.ndarray:
            return bare_model.encode(
                texts, batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
            )

        works: dict[str, Callable[[], np.ndarray]] = {"bare": bare, "ours": ours}
        if name == "static":
            works = {"bare": bare, "bare, passes of 1024": lambda: bare(1024), "ours": ours}

        embedder.embed(texts[:64], input_type="document")
        bare_model.encode(texts[:64])
        runs: dict[str, list[tuple[float, float]]] = {key: [] for key in works}
        made = {}
        for _ in range(repeats):
            for key, work in works.items():
                clock, cores, made[key] = timed(work)
                runs[key].append((clock, cores))
        assert np.allclose(made["bare"], made["ours"], atol=1e-5)
    medians = {key: [statistics.median(x) for x in zip(*r, strict=True)] for key, r in runs.items()}
    for key, (clock, cores) in medians.items():
        table.add_row(
            name,
            f"{len(texts):,}",
            key,
            f"{clock:.1f}",
            f"{cores:.1f}",
            f"{len(texts) / clock:,.0f}",
            f"{medians['bare'][0] / clock:.0%}",
            f"{medians['bare'][1] / cores:.0%}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--texts", type=int, default=1_500, help="for MiniLM")
    parser.add_argument("--static-texts", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    table = Table(title=f"medians of {arguments.repeats}")
    for column in ("model", "texts", "", "seconds", "core seconds", "texts/s", "speed", "by cores"):
        table.add_column(column, justify="left" if column in ("model", "") else "right")
    minilm = "sentence-transformers/all-MiniLM-L6-v2"
    with tempfile.TemporaryDirectory() as folder:
        static = str(build_static_model(Path(folder) / "static", dimensions=256))
        compare("static", static, mixed(arguments.static_texts), arguments.repeats, table)
        compare("MiniLM", minilm, mixed(arguments.texts), arguments.repeats, table)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
