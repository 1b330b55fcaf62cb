"""Killed while work is being done, again and again: the same vectors, and a ledger that brackets.

The kills are aimed by what can be seen from outside: requests at the provider, files of batches and
of the index, documents of the collection.
"""

import random
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from resources.registry.registry import Registry
from tests.assets.test_crash import content
from tests.killing import RunningChild
from tests.providers.behaviour import Behaviour
from tests.providers.openai import OpenAIServer, openai_server
from tests.workshop import Workshop

TEXTS, DROPPED = 600, 50
BATCH, REQUEST, CONCURRENCY = 20, 10, 4
KEY = {"OPENAI_API_KEY": "test-key"}
KILLS_PER_VERSION = 8


def documents(version: int) -> list[dict[str, Any]]:
    """Every version changes a third of the texts, drops some documents and adds others."""
    first = version * DROPPED
    return [
        {
            "_id": n,
            "text": f"text {n} of version {version if n % 3 == version % 3 else 0}",
            "kind": f"k{n % 5}",
        }
        for n in range(first, first + TEXTS)
    ]


class Paid:
    """A pipeline with a provider of its own, which counts what it bills."""

    def __init__(self, folder: Path, uri: str, latency: float) -> None:
        folder.mkdir()
        self._server = openai_server(Behaviour(key=KEY["OPENAI_API_KEY"], latency=latency))
        self.server: OpenAIServer = self._server.__enter__()
        self.workshop = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", "none")
        provider = {
            "space": "text-embedding-3-small",  # two servers, one model
            "base_url": self.server.url,
            "dimensions": 64,
            "max_texts": REQUEST,
            "concurrency": CONCURRENCY,
        }
        self.workshop.configure(
            {"embedder": {"provider": {"openai": provider}, "max_batch_chunks": BATCH}}
        )
        self.version = 0

    def write(self, version: int) -> None:
        self.version = version
        self.workshop.write(documents(version))

    def close(self) -> None:
        self._server.__exit__(None, None, None)
        self.workshop.client.drop_database(self.workshop.database)
        self.workshop.client.close()

    # What can be seen of a run that is at work.

    def asked(self) -> int:
        return len(self.server.requests)

    def answered(self) -> int:
        return sum(request.served for request in self.server.requests)

    def written(self) -> int:
        return len(list(self.workshop.folder.glob("batch_store/batches/*/*.parquet")))

    def rows(self) -> int:
        """Texts in batches; of one whose run was interrupted some are left out."""
        files = self.workshop.folder.glob("batch_store/batches/*/*.parquet")
        return sum(parquet.read_metadata(file).num_rows for file in files)

    def stored(self) -> int:
        of_version = {"text": {"$regex": f"version {self.version}$"}}
        return self.workshop.vectors.count_documents(of_version)

    def indexed(self) -> int:
        return len(list(self.workshop.folder.glob("batch_store/indexes/**/*")))


@pytest.fixture
def paid(
    tmp_path: Path, mongod_uri: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Paid, Paid]]:
    """One that will be killed, and one that never is."""
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    both = Paid(tmp_path / "killed", mongod_uri, 0.02), Paid(tmp_path / "whole", mongod_uri, 0.0)
    yield both
    for one in both:
        one.close()


def killed(paid: Paid, seen: Callable[[], int], more: int) -> bool:
    """Start a run, kill it as soon as so much more is seen; False where it ended before."""
    aim = seen() + more
    child = RunningChild(paid.workshop, environment=KEY)
    if child.kill_when(lambda: seen() >= aim):
        return True
    ended, failures = child.result()
    assert ended, failures
    return False


def prove(paid: tuple[Paid, Paid], kills: int) -> None:
    victim, whole = paid
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    landed, version = dict.fromkeys(("asked", "answered", "written", "stored", "indexed"), 0), 0
    while sum(landed.values()) < kills:
        victim.write(version)
        whole.write(version)
        assert whole.workshop.run().success
        for _ in range(KILLS_PER_VERSION):
            aim = draw.choice(list(landed))
            more = draw.randint(1, 6)
            if sum(landed.values()) == kills or not killed(victim, getattr(victim, aim), more):
                break
            landed[aim] += 1
        version += 1
    last, failures = RunningChild(victim.workshop, environment=KEY).result()
    assert last, (seed, failures)
    again = victim.workshop.run()
    assert again.success, (seed, again.failures)
    assert again.embedding_batches["embedded"] == 0
    assert all(again.checks.values()), (seed, again.checks)
    assert content(victim.workshop) == content(whole.workshop), f"seed {seed}"
    while victim.server.in_flight:
        time.sleep(0.01)
    rows = Registry(victim.workshop.client, victim.workshop.database).ledger.spend("films")
    counted = ("texts", "tokens", "requests", "unanswered", "unanswered_tokens")
    sums = {name: sum(getattr(row, name) for row in rows) for name in counted}
    billed, needed = victim.server.tokens_billed, whole.server.tokens_billed
    print(f"seed {seed}: {version} versions, kills {landed}, billed {billed:,}, ledger {sums}, "  # noqa: T201
          f"needed {needed:,}")  # fmt: skip
    assert sums["tokens"] <= billed <= sums["tokens"] + sums["unanswered_tokens"], f"seed {seed}"
    assert sums["unanswered"] <= kills * CONCURRENCY, f"seed {seed}"
    repeated = sum(count - 1 for count in victim.server.texts_billed.values())
    # As many batches are under way as there are requests, and one that waits for its turn.
    assert repeated <= kills * (CONCURRENCY + 1) * BATCH, f"seed {seed}"


@pytest.mark.proof
@pytest.mark.timeout(1200)
def test_sixty_kills(paid):
    prove(paid, 60)
