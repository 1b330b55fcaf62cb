"""Embed what a plan asks for; every batch is written down before the next is embedded."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from pymongo.errors import PyMongoError

from assets.work import keeping
from assets.work.budget import (
    NOTHING,
    check_budget,
    estimate,
    exceeded,
    share_of,
)
from assets.work.embedded import Embedded
from assets.work.had import copied, cut
from assets.work.keeping import Written, preview_rows
from assets.work.opened import Opened
from assets.work.plan import Plan, PlannedPart, read_hashes, read_texts
from assets.work.planning import MADE
from resources.batch_store.store import BatchStore
from resources.core.chunks import Chunk, size_of
from resources.core.errors import ConfigurationError, EmbeddingsError
from resources.core.progress import Progress, duration
from resources.core.shards import SHARED
from resources.core.windows import WINDOW_BYTES
from resources.embedders.base import Embedder, Embeddings, without_zeros
from resources.embedders.packing import estimate_tokens
from resources.registry import ledger
from resources.registry.registry import Registry
from resources.sources.records import RejectedRecord

SHARED_WAIT_SECONDS = timedelta(days=2).total_seconds()
"""For another shard's run to make what they share: a provider's batch job may take a day."""

SHARE_WAY_OUT = "that is this shard's share of what the whole may take: raise it for all of them"

UNDER_WAY_BYTES = 4 * WINDOW_BYTES
"""Of the texts that are held until their reply; those of batch jobs are read a second time."""


def embed(o: Opened) -> Embedded:
    """Make every batch of the plan that is not there yet; of a shard also what it shares.

    Raises:
        ConfigurationError: It would cost more than `embedder` allows, and nothing is spent; or it
            came to cost more than estimated, and what was embedded until then is kept.
        ProviderError: The provider failed for good; what was finished before is kept.
        LeaseError: Another run took the pipeline over; what was finished before is kept.
    """
    outcome = _embedded(o)
    if o.shard is not None:
        _embed_shared(o, outcome)
    if outcome.narrowed:
        o.log(f"cut {outcome.narrowed:,} vectors from wider ones, which costs nothing")
    if not outcome.asked:
        o.log("nothing to embed")
    elif outcome.embedded:
        o.log(f"embedded {outcome.embedded:,} texts in {duration(outcome.seconds)}")
    if outcome.truncated:
        o.warn(
            f"{outcome.truncated:,} texts are longer than the model reads: their vectors know "
            "only the beginning"
        )
    return outcome


def _embed_shared(o: Opened, outcome: Embedded) -> None:
    """Make the batches that shards share: whoever comes first does, the others wait for it.

    After its own, so that shards wait for one another only at the end of what they do at once; and
    before anything of it is stored, since a vector that is copied may be about to go.
    """
    shared, made = o.shared, {part.batch for part in _shared(o)}
    space_id = shared.plan.space.id
    if all(o.batches.has_batch(space_id, name) for name in made):
        _note_found(shared.plan, made, o.batches, o.registry)
    else:
        with shared.work(wait_seconds=SHARED_WAIT_SECONDS):
            outcome.add(_embedded(shared))
    wanted = [part for part in o.plan.of_kind("reuse") if part.batch in made]
    scope = o.embedder.facts().refusal_scope
    for part in wanted:
        hashes = read_hashes(o.batches, o.plan, part)
        refused = o.registry.quarantine.refused_texts(scope, hashes)
        outcome.chunks -= sum(each in refused for each in hashes)


def _shared(o: Opened) -> list[PlannedPart]:
    """What is made for a shard and others together; it may not be there yet."""
    return [] if o.shard in (None, SHARED) else o.shared.plan.of_kind(*MADE)


def _embedded(o: Opened) -> Embedded:
    plan, facts = o.plan, o.embedder.facts()
    written = partial(o.batches.has_batch, plan.space.id)
    jobs = o.registry.jobs(o.lane, o.run, written, o.shards)
    journal = o.registry.ledger.journal(
        o.lane,
        run=o.run,
        provider=plan.space.provider,
        model=facts.model,
        usd_per_million=facts.usd_per_million,
    )
    with o.embedder.open(jobs, o.log, journal, o.quota) as provider:
        return embed_plan(o, provider)


class Work:
    """A plan as it is embedded: of a run, whose texts lie in the batch store.

    Attributes:
        plan: What to do.
        max_tokens: That may be billed at most; `max_cost_usd` likewise.
        before: What of that was billed already, for the space that serves.
    """

    before = NOTHING

    def __init__(self, o: Opened, scope: str) -> None:
        self.plan = o.plan
        self.max_tokens, self.max_cost_usd = share_of(
            self.plan.share, o.embedder.max_tokens, o.embedder.max_cost_usd
        )
        self._o, self._scope = o, scope
        limited = (self.max_tokens, self.max_cost_usd) != (None, None)
        if limited and o.place != o.lanes.place:
            self.before = o.registry.ledger.billed(o.run, besides=self.plan.space.id)

    def check(self) -> None:
        """Go on?

        Raises:
            LeaseError: Another run took the pipeline over.
        """
        self._o.lease.check()

    def chunks(self, part: PlannedPart) -> list[Chunk]:
        """Of a part, without what they carry."""
        return read_texts(self._o.batches, self.plan, part)

    def hashes(self, part: PlannedPart) -> list[str]:
        return read_hashes(self._o.batches, self.plan, part)

    def refused(self, hashes: Sequence[str]) -> set[str]:
        """Which of the texts are not asked for again."""
        return self._o.registry.quarantine.refused_texts(self._scope, hashes)

    def refuse(self, records: Sequence[RejectedRecord]) -> None:
        """Texts that the provider has just refused."""
        quarantine = self._o.registry.quarantine
        quarantine.add(self.plan.lane, self._o.run, records, scope=self._scope, stage="provider")

    def heal(self, hashes: Sequence[str]) -> None:
        """Texts that have a vector now."""
        self._o.registry.quarantine.heal(self.plan.lane, self._scope, hashes)


def embed_plan(o: Opened, embedder: Embedder, work: Work | None = None) -> Embedded:
    """Batch after batch; each is written down before the next is embedded.

    Killed at any point, the next call repeats only what was in flight: one batch, or as many as a
    remote provider has requests for. Written down at once, because to do it beside the next batch
    saves nothing worth another batch at risk: 7 ms for 1,000 vectors.
    """
    work = work or Work(o, embedder.facts.refusal_scope)
    plan, batches, registry = work.plan, o.batches, o.registry
    cut_is_fine = o.embedder.truncates
    asked = bool(plan.of_kind(*MADE))
    outcome = Embedded(plan.id, plan.space, embedder.model, batches.url, asked)
    todo: list[_Todo] = []
    there: list[str] = []
    for part in plan.of_kind(*MADE):
        left = _left(work, part, batches, cut_is_fine=cut_is_fine)
        outcome.already_there += part.chunks - left.texts
        if left.found:
            there.append(part.batch)
        if not left.texts:
            continue
        if part.kind == "embed" or left.there or not _had(o, work, part, outcome):
            todo.append(left)
    wanted = estimate(
        embedder.facts,
        texts=sum(left.texts for left in todo),
        tokens=sum(left.tokens for left in todo),
    )
    outcome.estimate = wanted
    made = {part.batch for part in (*plan.of_kind(*MADE), *_shared(o))}
    there += [part.batch for part in plan.of_kind("reuse") if part.batch not in made]
    _note_found(plan, there, batches, registry)
    check_budget(
        wanted,
        model=embedder.model,
        max_tokens=work.max_tokens,
        max_cost_usd=work.max_cost_usd,
        before=work.before,
        **({"way_out": SHARE_WAY_OUT} if plan.share < 1 else {}),
    )
    if todo:
        o.log(f"to embed with {embedder.model}: {wanted}")
        embedder.prepare()
    progress = Progress(o.log, "chunks embedded", wanted.texts)
    embedder.progressed = progress.within
    under_way = _UnderWay(UNDER_WAY_BYTES)
    parts = {left.part.batch: left for left in todo}

    stopped, refused = "", set[tuple[str, str]]()

    def texts() -> Iterator[tuple[str, list[str]]]:
        nonlocal stopped
        for left in todo:
            # The estimate was made from characters; what is billed counts.
            stopped = exceeded(
                outcome.tokens,
                outcome.cost_usd,
                max_tokens=work.max_tokens,
                max_cost_usd=work.max_cost_usd,
                before=work.before,
            )
            if stopped:
                return
            work.check()
            name = left.part.batch
            chunks = left.chunks(work)
            under_way.add(name, chunks)
            yield name, [chunk.text for chunk in chunks]

    def write(name: str, given: Embeddings) -> Written:
        chunks, reply = under_way.take(name) or parts[name].chunks(work), without_zeros(given)
        return keeping.write(
            plan, name, chunks, reply, progress.seconds, found=parts[name].found,
            batches=batches, embedder=embedder, run=o.run, outcome=outcome,
        )  # fmt: skip

    def note(written: Written) -> None:
        chunks, reply = written.chunks, written.reply
        keeping.note(work, written, embedder=embedder, registry=registry, cut_is_fine=cut_is_fine)
        if not outcome.preview:
            outcome.preview = preview_rows(chunks, reply)
        cost = written.batch.details["spent"]["cost_usd"]
        if cost is not None:
            outcome.cost_usd = (outcome.cost_usd or 0.0) + cost
        refused.update((written.name, chunks[position].text_hash) for position in reply.refused)
        progress.advance(len(chunks) - len(reply.unfinished))

    replies: Any = embedder.embed_batches(texts())
    try:
        for name, given in replies:
            note(write(name, given))
    except BaseException:
        # A run that is ended keeps what it was answered: it has been paid for. All of it is written
        # before any is noted: what cannot be, since MongoDB is gone, the next run notes.
        replies.close()
        with suppress(EmbeddingsError, PyMongoError):
            for written in [write(name, given) for name, given in embedder.salvage()]:
                note(written)
        raise
    outcome.seconds = progress.seconds
    progress.finish()
    if stopped:
        raise ConfigurationError(stopped)
    source, held = (plan.counts.get(name, 0) for name in ("source", "held"))
    outcome.chunks = source - held - _without(work, refused)
    outcome.of_some = plan.ids is not None
    return outcome


def _without(work: Work, refused: set[tuple[str, str]]) -> int:
    """Chunks of the plan whose text is one of those refused in a batch, by both their names.

    Chunks that repeat a text of a batch are in other parts, for the same batch.
    """
    names = {batch for batch, _ in refused}
    return sum(
        (part.batch, text_hash) in refused
        for part in work.plan.of_kind("embed", "cut", "reuse")
        if part.batch in names
        for text_hash in work.hashes(part)
    )


@dataclass(frozen=True)
class _Todo:
    """What is left of a part: all of it, or what a batch file that is there does not hold.

    Attributes:
        there: Hashes of the texts that are there, or in quarantine by now.
        found: There is a batch file, whose rows are kept.
    """

    part: PlannedPart
    texts: int
    tokens: int
    there: frozenset[str] = frozenset()
    found: bool = False

    def chunks(self, work: Work) -> list[Chunk]:
        return [chunk for chunk in work.chunks(self.part) if chunk.text_hash not in self.there]


class _UnderWay:
    """Chunks of batches that wait for their reply: of the latest, as many as there is room for."""

    def __init__(self, max_bytes: int) -> None:
        self._room = max_bytes
        self._held: dict[str, tuple[int, list[Chunk]]] = {}

    def add(self, name: str, chunks: list[Chunk]) -> None:
        size = sum(map(size_of, chunks))
        self._held[name] = size, chunks
        self._room -= size
        while self._room < 0 and len(self._held) > 1:
            self.take(next(iter(self._held)))

    def take(self, name: str) -> list[Chunk] | None:
        """A batch's chunks, which are then held no longer; None where they are not."""
        size, chunks = self._held.pop(name, (0, None))
        self._room += size
        return chunks


def _left(work: Work, part: PlannedPart, batches: BatchStore, *, cut_is_fine: bool) -> _Todo:
    there = batches.whole_texts(work.plan.space.id, part.batch, cut=cut_is_fine)
    if there is None:
        return _Todo(part, part.chunks, part.tokens)
    if len(there) >= part.chunks:
        return _Todo(part, 0, 0, found=True)
    # Texts that were refused when the batch was made, or cut, which is not wanted any more: those
    # that may be asked for again.
    chunks = {chunk.text_hash: chunk for chunk in work.chunks(part)}
    absent = [text for text in chunks if text not in set(there)]
    refused = work.refused(absent)
    again = [text for text in absent if text not in refused]
    tokens = sum(estimate_tokens(chunks[text].text) for text in again)
    return _Todo(part, len(again), tokens, frozenset(chunks).difference(again), found=True)


def _note_found(plan: Plan, names: Iterable[str], batches: BatchStore, registry: Registry) -> None:
    """Note what batches took that a run wrote and, killed right then, did not come to note."""
    for name in registry.ledger.unrecorded(dict.fromkeys(names)):
        entry = ledger.entry_of(batches.read_batch(plan.space.id, name))
        if entry is not None:
            registry.ledger.record(entry)


def _had(o: Opened, work: Work, part: PlannedPart, outcome: Embedded) -> bool:
    """Write down the vectors of a part that are there already; False where they are not."""
    work.check()
    chunks = work.chunks(part)
    batch = (cut if part.kind == "cut" else copied)(o, work.plan, part, chunks)
    if batch is None:
        return False
    outcome.bytes += o.batches.write_batch(batch)
    outcome.batches += 1
    if part.kind == "cut":
        outcome.narrowed += len(chunks)
        work.heal([chunk.text_hash for chunk in chunks])
    else:
        outcome.copied += len(chunks)
    return True
