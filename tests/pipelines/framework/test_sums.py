"""The numbers of a run add up, whatever is refused by whom, reused or changed."""

import random
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterEventType

from pipelines.cli import run as command
from pipelines.framework.execution import run
from pipelines.framework.outcome import RunOutcome
from tests.providers.server import ProviderServer
from tests.workshop import Workshop

LONG = " ".join(f"A sentence of number {n} that makes a text long." for n in range(30))


class Corpus:
    """Rows of which it is known who refuses what."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rows: list[dict[str, Any]] = []
        self.poison, self.banned, self.rejected = (self.some() for _ in range(3))
        good = self.random.randint(8, 30)
        self.add("good", good, lambda n: f"text number {n}")
        self.add("twin", self.some(), lambda n: "the text of several")
        self.add("long", 2, lambda n: f"{n} {LONG}")
        # Some of those that a provider refuses have one text.
        self.add("poison", self.poison, lambda n: f"a virus {n // 2}")
        banned = "of a kind that is not stored"
        self.add("banned", self.banned, lambda n: f"{banned} {n}", kind="banned")
        for n in range(self.rejected):
            repeated = {"_id": "good 0", "text": "text number 0", "kind": "film"}
            self.rows.append(self.random.choice([{"_id": f"empty {n}", "text": ""}, repeated]))
        self.random.shuffle(self.rows)

    def some(self) -> int:
        return self.random.randint(0, 3)

    def add(self, name: str, count: int, text: Any, kind: str = "film") -> None:
        self.rows += [{"_id": f"{name} {n}", "text": text(n), "kind": kind} for n in range(count)]


@pytest.fixture
def films(
    tmp_path: Path,
    mongod_uri: str,
    openai_api: ProviderServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workshop]:
    monkeypatch.setenv("OPENAI_API_KEY", openai_api.behaviour.key)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    openai_api.behaviour.poison = ["virus"]
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", "none")
    made.configure({"embedder": {"max_batch_chunks": 10}})
    use(made, openai_api)
    schema = {"$jsonSchema": {"properties": {"kind": {"enum": ["film"]}}}}
    made.client[made.database].create_collection("vectors", validator=schema)
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def use(films: Workshop, api: ProviderServer, dimensions: int = 64) -> None:
    key = {"env": "OPENAI_API_KEY"}
    settings = {"base_url": api.url, "dimensions": dimensions, "api_key": key}
    films.configure({"embedder": {"provider": {"openai": settings}}})


@contextmanager
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as found:
        yield found


def told(outcome: RunOutcome) -> tuple[dict[str, int], str]:
    """The row count of each asset, and what the check of the quarantine says."""
    rows, said = {}, ""
    with instance() as found:
        for entry in found.all_logs(outcome.run_id):
            event = entry.dagster_event
            if event and event.event_type is DagsterEventType.ASSET_MATERIALIZATION:
                metadata = event.step_materialization_data.materialization.metadata
                assert event.asset_key
                rows[event.asset_key.path[-1]] = metadata["dagster/row_count"].value
            if event and event.event_type is DagsterEventType.ASSET_CHECK_EVALUATION:
                evaluation = event.asset_check_evaluation_data
                if evaluation.check_name == "few_in_quarantine":
                    said = evaluation.description or ""
    return rows, said


def check(films: Workshop, corpus: Corpus, outcome: RunOutcome) -> None:
    found, counts = outcome.planned.found, outcome.planned.found.counts
    rows, said = told(outcome)
    stored = films.vectors.count_documents({"embedding": {"$exists": True}})
    refused = corpus.poison + corpus.banned
    # The source: what came of each chunk, and of each record that is none.
    assert sum(counts.of_source().values()) == counts.source == stored + refused
    assert found.rejected == corpus.rejected
    assert len(corpus.rows) == found.documents + corpus.rejected - repeated(corpus)
    if not outcome.planned.chunked:
        assert counts.source + corpus.rejected == len(corpus.rows)
    # What is to be worked on is embedded or reused.
    work = counts.new + counts.changed + counts.cut + counts.reformatted
    assert work == counts.to_embed + counts.reused + counts.narrowed
    assert outcome.embedded.embedded + outcome.embedded.refused == counts.to_embed
    assert outcome.stored.written.vectors == work - (corpus.poison - counts.held) - corpus.banned
    if outcome.candidate:
        beside = outcome.candidate.entry
        assert (beside.chunks, beside.vectors) == (counts.source, stored)
        assert (beside.missing, beside.quarantined) == (0, corpus.poison)
    # What each asset holds, whatever the run did.
    assert rows == {
        "source_documents": counts.source,
        "embedding_batches": counts.source - corpus.poison,
        "stored_vectors": stored,
        "search_index": stored,
        "candidate_space": outcome.candidate.entry.vectors if outcome.candidate else 0,
    }
    bad = corpus.rejected + refused
    noun = "chunks" if outcome.planned.chunked else "records"
    assert said.startswith(f"{bad} of {counts.source + corpus.rejected} {noun} ")
    # And what a person or a program reads.
    told_all = outcome.to_json()
    batches = told_all["embedding_batches"]
    assert work == sum(batches[each] for each in ("embedded", "refused", "reused", "narrowed"))
    source = told_all["source_documents"]
    assert sum(source["is"].values()) == source["chunks"]
    assert told_all["quarantine"]["entries"] == len(films.quarantine())


def repeated(corpus: Corpus) -> int:
    """Records that are read, and rejected since another has their id."""
    return sum(row["_id"] == "good 0" for row in corpus.rows) - 1


SEEDS = [1, *(pytest.param(seed, marks=pytest.mark.proof) for seed in range(2, 8))]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_numbers_of_every_kind_of_run_add_up(
    films: Workshop, openai_api: ProviderServer, seed: int
):
    corpus, longer = Corpus(seed), seed > 1
    if longer and seed % 2:
        films.configure({"source": {"chunking": {"recursive": {"size": 200, "overlap": 0}}}})
    films.write(corpus.rows)

    def again(**config: Any) -> dict[str, int]:
        films.configure(config)
        outcome = run(films.pipeline)
        check(films, corpus, outcome)
        return outcome.planned.found.counts.of_source()

    check(films, corpus, run(films.pipeline))
    held, new = corpus.poison, corpus.banned  # MongoDB is asked again, each time
    # Another format: the vectors are there, in batches.
    changed = again(vector_store={"dtype": "int8"})
    stored = changed["reformatted"]
    assert changed == dict.fromkeys(changed, 0) | {"held": held, "new": new, "reformatted": stored}
    if not longer:
        return
    changed = again()
    assert changed == dict.fromkeys(changed, 0) | {"held": held, "new": new, "unchanged": stored}
    # Texts that moved to other documents, and fields that are no longer carried.
    for row in corpus.rows:
        row["_id"] = {"good 1": "moved 1", "good 2": "moved 2"}.get(row["_id"], row["_id"])
    films.write(corpus.rows)
    corpus.banned = 0  # by a field
    changed = again(source={"carry": []})
    assert changed["new"] == new + 2
    assert changed["refreshed"] == stored - 2
    # Another chunker leaves the chunks of what is short as they are.
    changed = again(source={"chunking": {"recursive": {"size": 300, "overlap": 0}}})
    assert (changed["rechunked"] > 0) is bool(seed % 2)
    # Another space is built beside the one that serves, of which nothing changes.
    use(films, openai_api, dimensions=32)
    changed = again()
    there = sum(changed.values()) - held
    assert changed == dict.fromkeys(changed, 0) | {"held": held, "unchanged": there}
    # Or in its place: a space in which nobody has refused anything yet.
    use(films, openai_api, dimensions=16)
    changed = again(model_change={"mode": "replace", "allow_replace": True})
    assert changed["changed"] > 0
    assert changed["unchanged"] == 0


def test_a_summary_tells_what_was_refused_and_where_to_read_of_it(
    films: Workshop, capsys: pytest.CaptureFixture[str]
):
    texts = [f"text number {n}" for n in range(299)]
    texts.insert(7, "a virus")
    films.write([{"_id": n, "text": text, "kind": "film"} for n, text in enumerate(texts)])
    outcome = run(films.pipeline)
    command.show(outcome, "films", [Path("my configs/x.yaml")])
    said = capsys.readouterr().out
    assert "300 documents: 300 new, 0 changed, 0 unchanged, 0 deleted\n" in said
    assert "299 texts by text-embedding-3-small in" in said
    assert f", {outcome.embedded.tokens:,} tokens, $" in said
    assert "; 1 refused: The input was rejected (HTTP 400) (1)\n" in said
    assert "299 written, 299 stored\n" in said
    assert "299 of 299 indexed" in said
    assert "quarantine         1: The input was rejected (HTTP 400) (1)\n" in said
    assert "embeddings quarantine list films -c 'my configs/x.yaml'\n" in said
    _, check = told(outcome)
    assert check.startswith("1 of 300 records is in quarantine: ")
    # Read to its first rows only, what stands there of the others is none of this run's.
    films.configure({"source": {"limit": 5}})
    _, check = told(run(films.pipeline))
    assert check == "0 of 5 records are in quarantine"
