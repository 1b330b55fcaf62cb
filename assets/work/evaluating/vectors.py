"""Vectors of the sample's texts in one space: those there are, and those that have to be paid for.

They become ordinary embedding batches, named by their content: a later evaluation, a run, or a
switch to that model finds them there.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from assets.work.budget import Estimate, estimate
from assets.work.embedded import Embedded
from assets.work.embedding import Work, embed_plan
from assets.work.evaluating.pieces import Pieces, distinct
from assets.work.evaluating.sample import Sample
from assets.work.had import wider
from assets.work.opened import Opened
from assets.work.plan import Plan, PlannedPart
from assets.work.planning import Part, Planner
from resources.batch_store.files import version_name
from resources.core.chunks import Chunk
from resources.core.errors import ConfigurationError
from resources.core.keys import decode, shown
from resources.core.space import EmbeddingSpace
from resources.core.vectors import NUMPY_TYPES
from resources.embedders.base import Embedder
from resources.embedders.packing import estimate_tokens
from resources.registry.neighbours import Neighbours
from resources.sources.records import RejectedRecord

NAMED = 5
"""Texts that a model refuses are named up to so many."""


@dataclass
class Refused:
    """Texts without a vector.

    Attributes:
        count: How many.
        first: Some of them: id of the document, and why.
    """

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, reason: str) -> None:
        self.count += 1
        if len(self.first) < NAMED:
            self.first.append((name, reason))


class SpaceWork(Work):
    """What of the sample is to be embedded in one space.

    Attributes:
        o: The first candidate of the space, whose embedder does it.
        space: As the store knows it.
        estimate: What is still to be paid for.
        refused: Texts that the model made nothing of, now or before.
        batches: That hold the vectors, or will.
        spent: What embedding took; None before.
    """

    def __init__(
        self, o: Opened, sample: Sample, space: EmbeddingSpace, pieces: Sequence[Pieces]
    ) -> None:
        self.o, self.space, self._db = o, space, sample.db
        self.refused_texts = Refused()
        self.spent: Embedded | None = None
        self.max_tokens, self.max_cost_usd = o.embedder.max_tokens, o.embedder.max_cost_usd
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS parts "
            "(space TEXT, n INTEGER, part TEXT, batch TEXT, hash TEXT, PRIMARY KEY (space, n))"
        )
        for columns in ("space, part", "space, hash", "space, batch"):
            name = columns.replace(", ", "_")
            self._db.execute(f"CREATE INDEX IF NOT EXISTS parts_{name} ON parts ({columns})")
        self._scope = o.embedder.facts().refusal_scope
        self.texts = 0
        parts = list(self._planned(sample, pieces))
        self.plan = Plan(
            f"evaluation-{version_name()}", o.name, o.run, space, {"source": 0, "held": 0}, parts
        )
        embeds = self.plan.of_kind("embed")
        self.estimate: Estimate = estimate(
            o.embedder.facts(),
            texts=sum(part.chunks for part in embeds),
            tokens=sum(part.tokens for part in embeds),
        )

    def _planned(self, sample: Sample, pieces: Sequence[Pieces]) -> Iterator[PlannedPart]:
        o, embedder, batches = self.o, self.o.embedder, self.o.batches
        near = _neighbours(o)
        with Planner(self.space.id, lambda ids: {}, cut_is_fine=embedder.truncates) as planner:
            for _ in planner.add(distinct(sample, pieces)):
                pass
            planner.resolve(
                near.known_texts if near else lambda space, hashes: set(),
                batches.texts_by_batch(self.space.id, cut=embedder.truncates),
                lambda _, hashes: self.refused(hashes),
                whole=partial(batches.has_batch, self.space.id),
                wider=wider(o, self.space),
            )
            for held in planner.held():
                for chunk in held:
                    self._refused(chunk.text_hash, "the quarantine has its reason")
            for number, (_, part) in enumerate(
                planner.parts(
                    max_chunks=embedder.max_batch_chunks,
                    max_tokens=embedder.max_batch_tokens,
                    tokens=estimate_tokens,
                )
            ):
                yield self._noted(f"{number:06d}", part)

    def _noted(self, name: str, part: Part) -> PlannedPart:
        self._db.executemany(
            "INSERT INTO parts VALUES (?, ?, ?, ?, ?)",
            (
                (self.space.id, self.texts + at, name, part.batch, chunk.text_hash)
                for at, chunk in enumerate(part.chunks)
            ),
        )
        self.texts += len(part.chunks)
        tokens = sum(estimate_tokens(chunk.text) for chunk in part.chunks)
        return PlannedPart(name, part.kind, part.batch, len(part.chunks), tokens, part.origin)

    # --- as the loop that embeds asks for it

    def check(self) -> None:
        """Nobody's pipeline is held: there is nothing to lose."""

    def chunks(self, part: PlannedPart) -> list[Chunk]:
        return [self._chunk(each) for each in self.hashes(part)]

    def hashes(self, part: PlannedPart) -> list[str]:
        found = self._db.execute(
            "SELECT hash FROM parts WHERE space = ? AND part = ? ORDER BY n",
            (self.space.id, part.name),
        )
        return [row[0] for row in found.fetchall()]

    def _chunk(self, text_hash: str) -> Chunk:
        name, source, text = self._db.execute(
            "SELECT id, source, text FROM pieces WHERE hash = ? ORDER BY cutting, row LIMIT 1",
            (text_hash,),
        ).fetchone()
        return Chunk(decode(name), decode(source), text, text_hash, {}, "")

    def refused(self, hashes: Sequence[str]) -> set[str]:
        return self.o.registry.quarantine.refused_texts(self._scope, hashes)

    def refuse(self, records: Sequence[RejectedRecord]) -> None:
        """They are no pipeline's work, so they stand in no quarantine."""
        for record in records:
            self._refused(record.text_hash, record.reason)

    def _refused(self, text_hash: str, reason: str) -> None:
        self.refused_texts.add(shown(self._chunk(text_hash).source_id), reason)

    def heal(self, hashes: Sequence[str]) -> None:
        """A run that embeds them for its store sees to that."""

    # --- what comes of it

    def embed(self, embedder: Embedder) -> Embedded:
        """Make the batches that are not there yet.

        Raises:
            ProviderError: The provider failed for good; what was finished before is kept.
            ConfigurationError: It came to cost more than allowed; likewise.
        """
        self.spent = embed_plan(self.o, embedder, self)
        return self.spent

    @property
    def batches(self) -> list[str]:
        return sorted({part.batch for part in self.plan.parts})

    @contextmanager
    def vectors(self) -> Iterator["Vectors"]:
        """All of them, in a temporary file for as long as this is open."""
        space = self.space
        with tempfile.TemporaryFile(prefix="evaluation-") as file:
            shape = (max(1, self.texts), space.width)
            values = np.memmap(file, NUMPY_TYPES[space.element], "w+", shape=shape)
            made = np.zeros(len(values), np.bool_)
            tokens = np.full(len(values), -1.0)
            for name in self.batches:
                self._fill(name, values, made, tokens)
            yield Vectors(values, made, tokens)
            del values

    def _fill(self, name: str, values: Any, made: np.ndarray, tokens: np.ndarray) -> None:
        batch = self.o.batches.read_batch(self.space.id, name)
        rows = batch.rows_by_text(cut=self.o.embedder.truncates)
        wanted = self._db.execute(
            "SELECT n, hash FROM parts WHERE space = ? AND batch = ?", (self.space.id, name)
        ).fetchall()
        there = [(n, rows[text_hash]) for n, text_hash in wanted if text_hash in rows]
        if there:
            places, found = map(list, zip(*there, strict=True))
            values[places] = batch.vectors[found]
            made[places] = True
            counted = batch.tokens[found].astype(np.float64)
            billed = batch.details.get("tokens")
            if billed is not None:  # of the whole batch, where nobody tells of each text
                counted[counted < 0] = billed / len(batch.lineage)
            tokens[places] = counted

    def places(self, pieces: Pieces) -> np.ndarray:
        """Of each chunk, the row of its vector; -1 where it has none."""
        found = self._db.execute(
            "SELECT coalesce(n, -1) FROM pieces LEFT JOIN parts ON parts.space = ? AND "
            "parts.hash = pieces.hash WHERE cutting = ? ORDER BY row",
            (self.space.id, pieces.number),
        )
        return np.fromiter((row[0] for row in found), np.int64, pieces.rows)


@dataclass(frozen=True)
class Vectors:
    """Of distinct texts.

    Attributes:
        values: Of the space's element type, shape (texts, columns), on disk.
        made: (texts,) whether there is one.
        tokens: (texts,) as counted, or its batch's mean; -1 where neither is known.
    """

    values: Any
    made: np.ndarray
    tokens: np.ndarray


def _neighbours(o: Opened) -> Neighbours | None:
    """Where vectors of the space may be stored; None where the candidate could store none."""
    with suppress(ConfigurationError):
        return o.neighbours
    return None


def space_of(o: Opened) -> EmbeddingSpace:
    """As the store knows it, where there could be one."""
    try:
        return o.space
    except ConfigurationError:
        return o.embedder_space
