"""The bytes that an estimate multiplies are those of a real run."""

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bson
import numpy as np
import pytest
from tokenizers import Tokenizer

from assets.work.planning import Planner
from pipelines.operations import sizes
from resources.batch_store.store import BatchStore, EmbeddingBatch
from resources.core.chunks import Chunk
from resources.core.keys import key
from resources.core.lineage import Lineage
from resources.core.paths import CODE_ROOT
from resources.core.space import EmbeddingSpace
from resources.models.model_folder import find_model
from tests.workshop import Workshop

DOCUMENTS, DIMENSIONS = 1_000, 64
NEAR = 0.1


def within(tolerance: float, value: float) -> object:
    return pytest.approx(value, rel=tolerance)


def weight(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def prose() -> list[str]:
    lines = (CODE_ROOT / "configs" / "quickstart.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def test_of_a_run(
    mongod_uri: str, static_model: str, tmp_path: Path, prose: list[str],
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    working: list[int] = []
    leave = Planner.__exit__

    def measured(self: Planner, *error: Any) -> None:
        working.append(size_of(self))
        leave(self, *error)

    monkeypatch.setattr(Planner, "__exit__", measured)
    drawn = random.Random(5)
    words = " ".join(prose).split()
    workshop = Workshop(tmp_path, mongod_uri, "sizes", static_model)
    workshop.client.drop_database("sizes")
    workshop.configure({"search_index": {"filter_fields": []}, "source": {"carry": []}})
    workshop.write(
        [
            {"_id": f"{drawn.getrandbits(96):024x}", "text": " ".join(drawn.choices(words, k=200))}
            for _ in range(DOCUMENTS)
        ]
    )
    indexes = []
    for name, exact_below in (("graph", 10), ("flat", 100_000)):
        workshop.configure({"search_index": {"name": name, "exact_below": exact_below}})
        done = workshop.run()
        assert done.success, done.failures
        folder = tmp_path / "batch_store" / "indexes" / "films" / name
        indexes.append(weight(folder) / DOCUMENTS)
    stored = list(workshop.vectors.find())
    workshop.client.drop_database("sizes")

    text = sum(len(each["text"].encode()) for each in stored) / DOCUMENTS
    tokens = text / sizes.BYTES_PER_TOKEN
    whole = sum(len(bson.encode(each)) for each in stored) / DOCUMENTS
    beside = whole - text - sizes.vector_bytes(DIMENSIONS, "float32")
    assert beside == within(0.02, sizes.DOCUMENT)
    assert len(bson.encode(stored[0]["embedding_lineage"])) == within(0.02, sizes.LINEAGE)

    store = tmp_path / "batch_store"
    assert weight(store / "batches") / DOCUMENTS == within(NEAR, sizes.batch_row(DIMENSIONS))
    assert weight(store / "plans") / DOCUMENTS == within(NEAR, sizes.plan_row(tokens))
    graph, flat = indexes
    assert flat == within(NEAR, sizes.local_row(DIMENSIONS, graph=False))
    assert graph - flat == within(NEAR, sizes.LOCAL_GRAPH)
    assert working[0] / DOCUMENTS == within(NEAR, sizes.planner_row(tokens))


def size_of(planner: Planner) -> int:
    pages, page = (
        planner._work.db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "page_size")
    )
    return pages * page


def test_of_a_comparison_that_finds_nothing_changed():
    drawn = random.Random(7)
    chunks = 20_000
    state = SimpleNamespace(
        space_id="a-space",
        text_hash="h",
        fields_hash="f",
        format="float32",
        chunker=None,
        cut=False,
    )
    with Planner("a-space", lambda ids: {key(each): state for each in ids}) as planner:
        before = size_of(planner)
        for _ in planner.add(
            Chunk(name, name, "text", "h", {}, "f")
            for name in (f"{drawn.getrandbits(96):024x}" for _ in range(chunks))
        ):
            pass
        assert planner.counts.unchanged == chunks
        assert (size_of(planner) - before) / chunks == within(NEAR, sizes.PLANNER_SEEN)


def test_of_wide_vectors(tmp_path: Path):
    """The two parts of a batch's row: at 64 dimensions alone either may be wrong."""
    rows, wide = 400, 1024
    vectors = np.random.default_rng(1).normal(size=(rows, wide)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    hashes = [f"{random.Random(n).getrandbits(256):064x}" for n in range(rows)]
    made = datetime(2026, 11, 27, tzinfo=UTC)
    written = BatchStore(str(tmp_path)).write_batch(
        EmbeddingBatch(
            "0123456789abcdef", EmbeddingSpace("openai", "a-model", "1", wide, "", True),
            [f'"{value[:24]}"' for value in hashes], vectors, np.full(rows, 300),
            [Lineage("a-space", "a-model", value, "0123456789abcdef", "a-run", made)
             for value in hashes],
            {"run": "a-run"},
        )
    )  # fmt: skip
    assert written / rows == within(0.05, sizes.batch_row(wide))


def test_of_english(prose: list[str]):
    folder = find_model("sentence-transformers/all-MiniLM-L6-v2").path
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokens = sum(len(tokenizer.encode(text, add_special_tokens=False).ids) for text in prose)
    found = sum(len(text.encode()) for text in prose) / tokens
    assert found == within(0.05, sizes.BYTES_PER_TOKEN)
