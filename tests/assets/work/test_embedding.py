"""What is written down of a plan's batches, whatever comes of each text: no Dagster, no model."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pymongo
import pytest

from assets.work.embedded import Embedded
from assets.work.embedding import _UnderWay, embed, embed_plan
from assets.work.opened import Opened
from assets.work.plan import Plan, PlanWriter
from assets.work.planning import Part, batch_id
from assets.work.versions import code_of_batches
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, hash_text, size_of
from resources.core.errors import LeaseError, ProviderError
from resources.core.lane import Lane
from resources.core.lineage import Lineage
from resources.core.moment import now
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder, Embeddings, Refusal, Usage
from resources.embedders.facts import Facts
from resources.embedders.openai import OpenAIProvider
from resources.embedders.resource import EmbedderResource
from resources.model_change.resource import ModelChangeResource
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

    def embed(self, plan: Plan, lease: Any = None, neighbours: Any = None) -> Embedded:
        settings: dict[str, Any] = {
            "embedder": EmbedderResource(provider=OpenAIProvider()),
            "model_change": ModelChangeResource(),
        }
        opened = Opened("films", settings.__getitem__, ExitStack(), run="run")
        vars(opened).update(
            plan=plan,
            batches=self.batches,
            registry=self.registry,
            neighbours=neighbours or Neighbours([], cut=True),
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


class Counted(Scripted):
    """Says what each text took, and is asked for money; every text has its own vector."""

    def __init__(self) -> None:
        super().__init__()
        self.facts = Facts("m-1", "scope", usd_per_million=2.0, settings={"tier": "slow"})

    def embed_batches(self, batches: Any) -> Iterator[Any]:
        for key, texts in batches:
            self.asked += texts
            refused = {at: Refusal("no") for at, text in enumerate(texts) if "refused" in text}
            yield (
                key,
                Embeddings(
                    np.array([[len(text)] * 8 for text in texts], np.float32),
                    tokens=np.arange(10, 10 + len(texts), dtype=np.int32),
                    usage=Usage(2, 1_000, 1, 3, 0.5, ("r-1", "r-2")),
                    refused=refused,
                    cut=frozenset(at for at, text in enumerate(texts) if "cut" in text),
                ),
            )

    def versions(self) -> dict[str, str]:
        return {"library": "1.2"}


TAKEN = {
    "pipeline": "films",
    "provider": "openai",
    "model": "m-1",
    "space": SPACE.id,
    "run": "run",
    "texts": 2,
    "tokens": 1_000,
    "cost_usd": 0.002,
    "requests": 2,
    "retries": 3,
    "throttled_seconds": 0.5,
    "request_ids": ["r-1", "r-2"],
}


def test_what_a_batch_took_is_written_down_with_it_and_in_the_ledger(bench: Bench):
    bench.embedder = Counted()
    plan = bench.plan(["a", "refused", "cut"], ["later", "last"])
    outcome = bench.embed(plan)
    for part, texts in zip(plan.parts, (["a", "cut"], ["later", "last"]), strict=True):
        batch = bench.batches.read_batch(SPACE.id, part.batch)
        rows = [0, 2] if "cut" in texts else [0, 1]
        assert batch.tokens.tolist() == [10 + row for row in rows]
        assert batch.vectors[:, 0].tolist() == [len(text) for text in texts]
        assert [made.text_hash for made in batch.lineage] == hashes(*texts)
        assert [made.cut for made in batch.lineage] == [text == "cut" for text in texts]
        assert {(made.model, made.batch, made.run) for made in batch.lineage} == {
            ("m-1", part.batch, "run")
        }
        spent = batch.details.pop("spent")
        assert spent == {
            **TAKEN,
            "_id": f"run/{part.batch}",
            "batch": part.batch,
            "seconds": spent["seconds"],
            "at": spent["at"],
        }
        assert batch.details == {
            "pipeline": "films",
            "plan": plan.id,
            "run": "run",
            "tokens": 1_000,
            "requests": 2,
            "retries": 3,
            "throttled_seconds": 0.5,
            "truncated": 1,
            "versions": {"library": "1.2"},
            "code": code_of_batches(),
            "settings": {"tier": "slow"},
        }
        assert bench.registry.ledger.unrecorded([part.batch]) == []
    assert (outcome.embedded, outcome.refused, outcome.batches) == (4, 1, 2)
    assert (outcome.requests, outcome.retries, outcome.truncated) == (4, 6, 2)
    assert (outcome.tokens, outcome.cost_usd, outcome.throttled_seconds) == (2_000, 0.004, 1.0)
    assert outcome.asked
    assert [(chunk.id, row[0], tokens) for chunk, row, tokens in outcome.preview] == [
        ("a", 1, 10),
        ("cut", 3, 12),
    ]
    (entry,) = bench.registry.quarantine._entries.find()
    assert (entry["text_hash"], entry["stage"]) == (hash_text("refused"), "provider")
    assert (entry["where"], entry["reason"]) == ("openai model m-1", "no")


class Stored:
    """Vectors of a store, by hash, as neighbours give them."""

    def __init__(self, *texts: str, width: int = 8) -> None:
        self.made = Lineage(SPACE.id, "m-0", "", "earlier", "run before", now())
        self.rows = {hash_text(text): np.full(width, len(text), np.float32) for text in texts}

    def by_text(self, space: str, text_hashes: Any) -> dict[str, Any]:
        assert space == SPACE.id
        return {
            text: (self.rows[text], replace(self.made, text_hash=text))
            for text in text_hashes
            if text in self.rows
        }


def copied(bench: Bench, stored: Stored, *texts: str) -> Embedded:
    writer = PlanWriter(bench.batches, lane=LANE, run="run", space=SPACE)
    chunks = [Chunk.whole(text, text, {}) for text in texts]
    writer.add(Part("copy", chunks, name_of(list(texts))))
    return bench.embed(writer.finish({}), neighbours=stored)


def test_what_is_stored_elsewhere_is_copied_with_who_made_it(bench: Bench):
    outcome = copied(bench, Stored("a", "bcd", "other"), "a", "bcd")
    assert bench.embedder.asked == []
    assert (outcome.copied, outcome.batches, outcome.embedded, outcome.asked) == (2, 1, 0, True)
    batch = bench.batches.read_batch(SPACE.id, name_of(["a", "bcd"]))
    assert batch.vectors[:, 0].tolist() == [1, 3]
    assert batch.tokens.tolist() == [-1, -1]
    assert [(made.text_hash, made.model, made.batch, made.run) for made in batch.lineage] == [
        (text, "m-0", "earlier", "run before") for text in hashes("a", "bcd")
    ]
    assert batch.details["copied"] is True
    assert batch.details["pipeline"] == "films"
    assert outcome.bytes > 0


@pytest.mark.parametrize("stored", [Stored("a"), Stored("a", "bcd", width=9)])
def test_where_one_stored_vector_is_gone_or_damaged_all_of_the_part_is_embedded(bench, stored):
    outcome = copied(bench, stored, "a", "bcd")
    assert bench.embedder.asked == ["a", "bcd"]
    assert (outcome.copied, outcome.embedded) == (0, 2)


def test_what_is_there_is_counted_and_not_asked_for(bench: Bench):
    bench.embed(bench.plan(["a", "b"]))
    bench.embedder.asked.clear()
    outcome = bench.embed(bench.plan(["a", "b"], ["c"]))
    assert (outcome.already_there, outcome.embedded, outcome.batches) == (2, 1, 1)
    assert bench.embedder.asked == ["c"]


def test_what_a_killed_run_did_not_come_to_note_is_noted(bench: Bench):
    plan = bench.plan(["a", "b"])
    bench.embed(plan)
    bench.registry.ledger._batches.delete_many({})
    bench.embed(plan)
    assert bench.registry.ledger.unrecorded([plan.parts[0].batch]) == []


class Opening:
    """Stands for the embedder's resource; keeps what a provider is opened with."""

    max_tokens = max_cost_usd = quota = None
    truncates = True

    def __init__(self) -> None:
        self.embedder = Counted()
        self.given: list[Any] = []
        self.closed = False

    def facts(self) -> Facts:
        return self.embedder.facts

    @contextmanager
    def open(self, *given: Any) -> Iterator[Embedder]:
        self.given += given
        yield self.embedder
        self.closed = True


def test_a_provider_is_opened_with_what_it_writes_to_and_what_came_is_said(bench: Bench):
    opening, lines, warnings = Opening(), [], []
    for texts, said in ((["a", "cut"], "embedded 2 texts in 0"), ([], "nothing to embed")):
        plan = bench.plan(texts) if texts else bench.plan()
        settings = {"embedder": opening, "model_change": ModelChangeResource()}
        opened = Opened(
            "films", settings.__getitem__, ExitStack(), run="run",
            log=lines.append, warn=warnings.append,
        )  # fmt: skip
        vars(opened).update(
            plan=plan, batches=bench.batches, registry=bench.registry, space=SPACE, lease=Held(),
            neighbours=Neighbours([], cut=True),
        )  # fmt: skip
        outcome = embed(opened)
        assert (outcome.embedded, outcome.asked) == (len(texts), bool(texts))
        assert lines[-1].startswith(said)
        assert opening.closed
    assert [line for line in lines if "nothing" in line] == ["nothing to embed"]
    assert warnings == [
        "1 texts are longer than the model reads: their vectors know only the beginning"
    ]
    jobs, log, journal = opening.given[:3]
    assert (jobs._lane, jobs._run, log) == (LANE, "run", opened.log)
    assert [jobs._written(name) for name in (name_of(["a", "cut"]), "none")] == [True, False]
    assert journal._price == 2.0
    assert journal._who == {
        "pipeline": "films",
        "space": SPACE.id,
        "run": "run",
        "provider": "openai",
        "model": "m-1",
    }


def test_texts_under_way_are_held_as_far_as_there_is_room():
    chunks = [Chunk.whole(name, "text", {}) for name in "abc"]
    held = _UnderWay(2 * size_of(chunks[0]))
    for chunk in chunks[:2]:
        held.add(chunk.id, [chunk])
    assert held.take("a") == [chunks[0]], "there is room for two"
    assert held.take("a") is None
    held.add("a", [chunks[0]])
    held.add("c", [chunks[2]])
    assert [held.take(name) for name in "bac"] == [None, [chunks[0]], [chunks[2]]]
    held.add("all", chunks)
    assert held.take("all") == chunks, "the latest is kept, however large"
