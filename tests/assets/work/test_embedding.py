"""What is written down of a plan's batches, whatever comes of each text: no Dagster, no model."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest

from assets.work.embedding import Embedded, embed_plan
from assets.work.opened import Opened
from assets.work.plan import Plan, PlanWriter
from assets.work.planning import Part, batch_id
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, hash_text
from resources.core.errors import LeaseError, ProviderError
from resources.core.lane import Lane
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder, Embeddings, Refusal
from resources.embedders.facts import Facts
from resources.embedders.openai import OpenAIProvider
from resources.embedders.resource import EmbedderResource
from resources.registry.neighbours import Neighbours
from resources.registry.registry import Registry

SPACE = EmbeddingSpace("openai", "m", "", 8, "", normalized=False)
LANE = Lane("films", SPACE.id)


class Scripted(Embedder):
    """Refuses texts that say so, leaves unfinished those that say so, and fails after them."""

    def __init__(self) -> None:
        super().__init__(SPACE, Facts("m", "scope"))
        self.asked: list[str] = []

    def embed(self, texts: Any, *, input_type: Any) -> Embeddings:
        raise NotImplementedError

    def embed_batches(self, batches: Any) -> Iterator[Any]:
        for key, texts in batches:
            self.asked += texts
            refused = {at: Refusal("no") for at, text in enumerate(texts) if "refused" in text}
            left = frozenset(at for at, text in enumerate(texts) if "unfinished" in text)
            yield (
                key,
                Embeddings(np.ones((len(texts), 8), np.float32), refused=refused, unfinished=left),
            )
            if left:
                raise ProviderError("it failed")


class Held:
    """A lease that is lost once it was asked so often."""

    def __init__(self, times: int = 1000) -> None:
        self.left = times

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise LeaseError("replaced")


class Bench:
    def __init__(self, folder: Path, client: Any, database: str) -> None:
        self.batches = BatchStore(str(folder / "batches"))
        self.registry = Registry(client, database)
        self.registry.prepare()
        self.embedder = Scripted()

    def plan(self, *texts: list[str]) -> Plan:
        """A batch of each list."""
        writer = PlanWriter(self.batches, lane=LANE, run="run", space=SPACE)
        for names in texts:
            chunks = [Chunk.whole(text, text, {}) for text in names]
            writer.add(Part("embed", chunks, name_of(names)))
        return writer.finish({})

    def embed(self, plan: Plan, lease: Any = None) -> Embedded:
        settings = {"embedder": EmbedderResource(provider=OpenAIProvider())}
        opened = Opened("films", settings.__getitem__, ExitStack(), run="run")
        vars(opened).update(
            plan=plan,
            batches=self.batches,
            registry=self.registry,
            neighbours=Neighbours([], cut=True),
            lease=lease or Held(),
        )
        return embed_plan(opened, self.embedder)

    def written(self) -> dict[str, list[str]]:
        """Hashes by the name of the batch file."""
        names = self.batches.batches(SPACE.id)
        return {name: self.batches.texts(SPACE.id, name) for name in names}

    def refused(self) -> list[str]:
        return [str(entry.id) for entry in self.registry.quarantine.entries("films")]


def name_of(texts: list[str]) -> str:
    return batch_id(SPACE.id, [hash_text(text) for text in texts])


def hashes(*texts: str) -> list[str]:
    return [hash_text(text) for text in texts]


@pytest.fixture
def bench(tmp_path: Path, mongod_uri: str) -> Iterator[Bench]:
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri)
    name = f"test_{secrets.token_hex(6)}"
    yield Bench(tmp_path, client, name)
    client.drop_database(name)
    client.close()


def test_a_part_of_a_batch_has_a_name_of_its_own(bench: Bench):
    plan = bench.plan(["a", "b", "unfinished"])
    with pytest.raises(ProviderError):
        bench.embed(plan)
    assert bench.written() == {name_of(["a", "b"]): hashes("a", "b")}
    lineage = bench.batches.read_batch(SPACE.id, name_of(["a", "b"])).lineage
    assert {made.batch for made in lineage} == {name_of(["a", "b"])}


def test_of_a_batch_that_came_to_nothing_nothing_is_written_down(bench: Bench):
    with pytest.raises(ProviderError):
        bench.embed(bench.plan(["refused", "unfinished"], ["later"]))
    assert bench.written() == {}
    assert bench.refused() == ["refused"], "which is known all the same"


def test_a_batch_of_refused_texts_only_is_written_down_and_not_asked_for_again(bench: Bench):
    plan = bench.plan(["refused 1", "refused 2"])
    bench.embed(plan)
    assert bench.written() == {name_of(["refused 1", "refused 2"]): []}
    bench.embedder.asked.clear()
    assert bench.embed(plan).embedded == 0
    assert bench.embedder.asked == []


def test_texts_in_quarantine_are_held_back_and_others_of_their_batch_asked_for(bench: Bench):
    plan = bench.plan(["a", "refused", "refused, but let go"])
    bench.embed(plan)
    assert bench.written() == {plan.parts[0].batch: hashes("a")}
    bench.registry.quarantine.heal(
        LANE, bench.embedder.facts.refusal_scope, hashes("refused, but let go")
    )
    bench.embedder.asked.clear()
    bench.embed(plan)
    assert bench.embedder.asked == ["refused, but let go"]


def test_no_batch_is_asked_for_once_the_lease_is_lost(bench: Bench):
    plan = bench.plan(["a"], ["b"], ["c"])
    with pytest.raises(LeaseError):
        bench.embed(plan, Held(2))
    assert bench.embedder.asked == ["a", "b"]
    assert bench.written().keys() == {name_of(["a"]), name_of(["b"])}, "what is answered is kept"
