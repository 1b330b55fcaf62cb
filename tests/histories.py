"""Any history of a pipeline: what must hold after each of its runs that was not broken off.

Every chunk of the source has a vector of the wanted space, or stands in quarantine with a reason;
a run ends green; what has a vector is not embedded again.
"""

import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from bson.binary import BinaryVectorDtype
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, hash_text
from resources.core.keys import key
from resources.core.moment import now
from resources.core.vectors import from_bson
from resources.registry import quarantine
from resources.sources.chunking import NoChunking, RecursiveChunking
from resources.sources.records import SourceDocument
from tests.breaking import Break, broken_off
from tests.providers.behaviour import Behaviour, Fault, Request
from tests.providers.openai import OpenAIServer
from tests.providers.server import Refused
from tests.workshop import Run, Workshop

KEY = "test-key"

WIDTHS = {"model-a": 16, "model-b": 24, "model-c": 16}
"""The last takes everything."""

REFUSED = {"model-a": ("acid", "venom"), "model-b": ("bane", "venom"), "model-c": ()}
"""Words of texts that a model refuses for good."""

FLAKY = {"model-a": ("flicker",), "model-b": ("flicker", "waver"), "model-c": ()}
"""Words of texts for which a model gives no vector, while it has a bad time."""

PIECES = [
    f"{word} stands in this piece of text number {number}"
    for word in ("bread", "acid", "bane", "venom", "flicker", "waver")
    for number in range(2)
]

CHUNKINGS: dict[str, Any] = {
    "none": NoChunking(),
    "small": RecursiveChunking(size=50, overlap=0),
    "large": RecursiveChunking(size=110, overlap=0),
}
CARRIED = (["kind"], ["kind", "year"], [])

FORMATS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32", "rescore": "none"},
    "array": {"dtype": "array", "rescore": "none"},
    "int8": {"dtype": "int8", "rescore": "none"},
    "int8, rescored by float32": {"dtype": "int8", "rescore": "float32"},
}


class MoodyServer(OpenAIServer):
    """Refuses some texts for good, and others while it has a bad time, each model its own."""

    def __init__(self) -> None:
        super().__init__(Behaviour(key=KEY), WIDTHS)
        self.bad_time = False

    def check(self, request: Request) -> None:
        if any(word in text for text in request.texts for word in REFUSED[request.model]):
            raise Refused(400, "The input was rejected.", param="input")
        super().check(request)

    def _spoil(self, data: list[dict[str, Any]], request: Request, fault: Fault | None) -> None:
        for row, text in zip(data, request.texts, strict=True):
            if self.bad_time and any(word in text for word in FLAKY[request.model]):
                row["embedding"] = None
        super()._spoil(data, request, fault)


texts = st.lists(st.sampled_from(PIECES), min_size=1, max_size=3).map("\n\n".join)
ids = st.integers(0, 7)
breaks = st.builds(
    Break, st.integers(1, 45), st.sampled_from(("before", "half", "after")), st.booleans()
)


class History(RuleBasedStateMachine):
    """Args:
    folder: For its files.
    uri: Of the genuine mongod.
    server: Of the provider.
    """

    def __init__(self, folder: Path, uri: str, server: MoodyServer) -> None:
        super().__init__()
        name = f"test_{secrets.token_hex(6)}"
        (folder / name).mkdir()
        self.server = server
        server.bad_time = False
        self.workshop = Workshop(folder / name, uri, name, "none")
        self.workshop.configure(
            {
                "embedder": {"max_batch_chunks": 3},
                "search_index": {"filter_fields": []},
                "vector_store": {"allow_delete": True},
                "model_change": {"mode": "replace", "allow_replace": True},
            }
        )
        self.source: dict[int, dict[str, Any]] = {}
        self.model, self.chunking, self.carry = "model-a", "none", CARRIED[0]
        self.format = "float32"
        self.asked_for: dict[str, set[str]] = {model: set() for model in WIDTHS}
        self.passed = timedelta()
        self.ran = False
        self._clock = patch.object(quarantine, "now", lambda: now() + self.passed)
        self._clock.start()

    # --- what may happen between runs

    @initialize(documents=st.lists(texts, min_size=3, max_size=8))
    def first_documents(self, documents: list[str]) -> None:
        for number, text in enumerate(documents):
            self.source[number] = {"_id": number, "text": text, "kind": "first", "year": 2000}

    @rule(number=ids, text=texts, kind=st.sampled_from(("first", "second")))
    def write_document(self, number: int, text: str, kind: str) -> None:
        self.source[number] = {"_id": number, "text": text, "kind": kind, "year": 2000 + number}

    @rule(number=ids, other=ids)
    def copy_document(self, number: int, other: int) -> None:
        if number in self.source:
            self.source[other] = {**self.source[number], "_id": other}

    @rule(number=ids)
    def damage_document(self, number: int) -> None:
        self.source[number] = {"_id": number, "kind": "damaged"}

    @rule(number=ids)
    def delete_document(self, number: int) -> None:
        if len(self.source) > 1:
            self.source.pop(number, None)

    @rule(
        stored_as=st.sampled_from(list(FORMATS)),
        chunking=st.sampled_from(list(CHUNKINGS)),
        carry=st.sampled_from(CARRIED),
    )
    def choose_settings(self, stored_as: str, chunking: str, carry: list[str]) -> None:
        self.format, self.chunking, self.carry = stored_as, chunking, carry

    @rule(bad_time=st.booleans())
    def server_has_a_time(self, bad_time: bool) -> None:
        self.server.bad_time = bad_time

    @rule(hours=st.sampled_from((1, 30)))
    def time_passes(self, hours: int) -> None:
        self.passed += timedelta(hours=hours)

    # Places, not entries: which of those there are may depend on where threads were broken off.
    @rule(places=st.lists(st.integers(0, 11), min_size=1, max_size=4), drop=st.booleans())
    def drop_or_retry(self, places: list[int], drop: bool) -> None:
        texts = {row["_id"]: row["text_hash"] for row in self._entries()} if self.ran else {}
        if texts:
            chosen = list({sorted(texts)[place % len(texts)] for place in places})
            act = self._quarantine().drop if drop else self._quarantine().retry
            act(self.workshop.name, chosen)
            self.asked_for[self.model] |= {texts[name] for name in chosen if texts[name]}

    # --- runs

    @rule(model=st.sampled_from(("model-a", "model-b")), twice=st.booleans())
    def run(self, model: str, twice: bool) -> None:
        self.model = model
        self._whole_run()
        if twice:
            self._nothing_to_do()

    @rule(model=st.sampled_from(("model-a", "model-b")), at=breaks)
    def run_that_breaks_off(self, model: str, at: Break) -> None:
        self.model = model
        self._configure()
        before = self._before()
        with broken_off(at) as happened:
            run = self.workshop.run()
        assert run.success != happened(), run.failures
        note("broken off" if happened() else "it had ended")
        # As if its process were gone.
        leases = self.workshop.client[self.workshop.database]["embedding_leases"]
        leases.update_many({}, {"$set": {"expires_at": datetime(2000, 1, 1)}})
        asked = self._asked_nothing_in_vain(before)
        # Asked for again, refused again, and noted before it broke off: that was it.
        held = {row["text_hash"] for row in self._entries() if row["space"]}
        self.asked_for[self.model] -= asked & held

    def teardown(self) -> None:
        try:
            if self.source:
                self.model = "model-c"
                self._whole_run()
                rejected = {number for number, row in self.source.items() if "text" not in row}
                left = {entry["id"] for entry in self._entries()}
                assert left == rejected, "a model that takes everything stores everything"
                self._nothing_to_do()
        finally:
            self._clock.stop()
            self.workshop.client.drop_database(self.workshop.database)
            self.workshop.client.close()

    # --- what must hold

    def _whole_run(self) -> Run:
        self._configure()
        before = self._before()
        run = self.workshop.run()
        assert run.success, run.failures
        failed = [name for name, passed in run.checks.items() if not passed]
        assert set(failed) <= {"few_in_quarantine"}, failed
        asked = self._asked_nothing_in_vain(before)
        wanted = {chunk.text_hash for chunk in self._chunks()} - before[1]
        assert self.asked_for[self.model] & wanted <= asked, (
            "somebody wanted these to be asked for again"
        )
        self.asked_for[self.model].clear()
        self._all_accounted_for(run)
        return run

    def _all_accounted_for(self, run: Run) -> None:
        space = run.source_documents["space"]
        chunks = {key(chunk.id): chunk for chunk in self._chunks()}
        stored = {key(row["_id"]): row for row in self.workshop.stored().values()}
        entries = {key(row["id"]): row for row in self._entries()}
        rejected = {key(n) for n, row in self.source.items() if "text" not in row}
        assert stored.keys() <= chunks.keys(), "of the source"
        assert entries.keys() <= chunks.keys() | rejected, "of the source"
        assert rejected <= entries.keys()
        for name, chunk in chunks.items():
            row, entry = stored.get(name), entries.get(name)
            lineage = row["embedding_lineage"] if row else {}
            if row is not None:
                assert lineage["space"] == space
                assert lineage["stored_as"] == self.format
                self._is_as_wanted(row, chunk)
            if entry is None:
                assert row is not None, f"{chunk} has neither a vector nor an entry"
                assert lineage["text_hash"] == chunk.text_hash, chunk
            else:
                assert entry["reason"], entry
                assert entry["text_hash"] == chunk.text_hash, (entry, chunk)
                stale = row is not None and lineage["text_hash"] != chunk.text_hash
                assert row is None or (stale and "again_at" in entry), (row, entry)

    def _is_as_wanted(self, row: Mapping[str, Any], chunk: Chunk) -> None:
        lineage = row["embedding_lineage"]
        if lineage["text_hash"] != chunk.text_hash:
            return  # an older text's vector, which waits for the new one
        own = {
            "_id",
            "source_id",
            "text",
            "embedding",
            "embedding_lineage",
            "embedding_inserted_by",
        }
        if FORMATS[self.format]["rescore"] != "none":
            own.add("embedding_rescore")
        assert row.keys() == own | chunk.fields.keys(), chunk
        assert {name: row[name] for name in chunk.fields} == chunk.fields
        assert (row["source_id"], row["text"]) == (chunk.source_id, chunk.text)
        assert lineage.get("chunker") == CHUNKINGS[self.chunking].describe()
        exact = self.server.vector(chunk.text, model=self.model)
        if FORMATS[self.format]["dtype"] == "int8":
            assert row["embedding"].as_vector().dtype is BinaryVectorDtype.INT8
            found = from_bson(row["embedding"]).astype(float)
            assert found @ exact / np.linalg.norm(found) > 0.99
        else:
            assert isinstance(row["embedding"], list) == (self.format == "array")
            assert np.allclose(from_bson(row["embedding"]), exact)

    def _nothing_to_do(self) -> None:
        asked = len(self.server.requests)
        run = self._whole_run()
        assert len(self.server.requests) == asked
        done = {
            name: run.source_documents[name]
            for name in (
                "new", "changed", "to store in another format", "cut the same by another chunker",
                "fields changed", "deleted", "outdated", "to embed", "vectors reused",
            )
            if run.source_documents[name]
        }  # fmt: skip
        assert not done
        left = run.source_documents["unchanged"] + run.source_documents["refused before"]
        assert left == run.source_documents["dagster/row_count"]
        written = ("vectors written", "fields refreshed", "deleted")
        assert not any(run.stored_vectors[name] for name in written)

    def _before(self) -> tuple[int, set[str], set[str]]:
        """How much was asked so far; texts with a vector, and those refused for now, by hash."""
        space = self._space()
        batches = BatchStore(f"{self.workshop.folder}/batch_store")
        there = {text for _, found in batches.texts_by_batch(space) for text in found}
        at = now() + self.passed
        wanted = {chunk.text_hash for chunk in self._chunks()}
        refused = {
            row["text_hash"]
            for row in self._entries()
            if row["space"].startswith(f"{space} ") and row["text_hash"] in wanted
            and ("again_at" not in row or row["again_at"] > at.replace(tzinfo=None))
        }  # fmt: skip
        return len(self.server.requests), there, refused

    def _asked_nothing_in_vain(self, before: tuple[int, set[str], set[str]]) -> set[str]:
        """What was asked for, by hash."""
        first, there, refused = before
        asked = {text for request in self.server.requests[first:] for text in request.texts}
        hashes = {hash_text(text): text for text in asked}
        assert not (hashes.keys() & there), "these have a vector"
        assert not (hashes.keys() & refused - self.asked_for[self.model]), "these are refused"
        return set(hashes)

    # --- pieces

    def _space(self) -> str:
        """Id of the space that the latest settings ask for."""
        return self.workshop.pipeline.resources()["embedder"].space().id

    def _configure(self) -> None:
        self.ran = True
        provider = {
            "model": self.model,
            "dimensions": WIDTHS[self.model],
            "base_url": self.server.url,
            "api_key": {"env": "OPENAI_API_KEY"},
        }
        chunking = {}
        if self.chunking != "none":
            chunker = CHUNKINGS[self.chunking]
            chunking = {"recursive": {"size": chunker.size, "overlap": chunker.overlap}}
        self.workshop.settings["source"]["chunking"] = chunking or {"none": {}}
        self.workshop.settings["source"]["carry"] = self.carry
        self.workshop.configure(
            {
                "embedder": {"provider": {"openai": provider}},
                "vector_store": FORMATS[self.format],
            }
        )
        self.workshop.write(list(self.source.values()))

    def _chunks(self) -> list[Chunk]:
        chunker = CHUNKINGS[self.chunking]
        found: list[Chunk] = []
        for number, row in self.source.items():
            if "text" in row:
                fields = {name: row[name] for name in self.carry}
                found += chunker.chunks(SourceDocument(number, row["text"], fields))
        return found

    def _entries(self) -> list[dict[str, Any]]:
        found = self.workshop.client[self.workshop.database]["embedding_quarantine"]
        return list(found.find({"pipeline": self.workshop.name, "lane": self._space()}))

    def _quarantine(self) -> quarantine.Quarantine:
        found = self.workshop.client[self.workshop.database]["embedding_quarantine"]
        return quarantine.Quarantine(found)


def play(make: Callable[[], History], examples: int, steps: int) -> None:
    """Play through some histories."""
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            # To make a failing history shorter takes many more.
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
        ),
    )
