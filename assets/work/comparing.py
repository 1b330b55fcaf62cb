"""Read the source and compare it with what is stored: what is to be embedded, stored, deleted."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from assets.work import spaces
from assets.work.changed import Some, documents, settings, some
from assets.work.counts import Counts
from assets.work.had import wider
from assets.work.opened import Opened
from assets.work.plan import Plan, PlanWriter
from assets.work.planning import Part, Planner
from resources.core.chunks import Chunk, excess
from resources.core.contents import Contents
from resources.core.errors import ConfigurationError
from resources.core.keys import key
from resources.core.progress import Progress, doing
from resources.core.shards import shard_of, slot_of
from resources.embedders.packing import estimate_tokens
from resources.registry.quarantine import Quarantined
from resources.sources.records import EXCERPT_LENGTH, RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource
from resources.vector_store.store import StoredState, VectorStore

PREVIEW_ROWS = 4
QUARANTINE_ROWS = 20


@dataclass
class Comparison:
    """What reading the source brought to light.

    Attributes:
        counts: In chunks, as the planner found them.
        scope: What the provider's refusals hold for.
        whole: The source was read to its end, so what was not met is gone; never where only some
            records were compared, of which the same holds.
        contents: Of all chunks that can be embedded, with what they carry.
        of_shards: Counts of each shard, and the digest of its contents, where there are several.
    """

    counts: Counts
    preview: list[Chunk]
    scope: str
    whole: bool = False
    documents: int = 0
    rejected: int = 0
    characters: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    contents: Contents = field(default_factory=Contents)
    of_shards: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class Planned:
    """What the asset `source_documents` comes to.

    Attributes:
        plan: Written down for the assets that follow.
        found: What the source was compared with.
        healed: Entries of the quarantine that are gone, because the source no longer spoils them.
        quarantined: The first entries that stand there now.
        work: How many parts of the plan each shard has; empty where there are none.
    """

    plan: Plan
    found: Comparison
    healed: int
    quarantined: Sequence[Quarantined]
    source: str
    chunked: str
    work: Mapping[str, int] = field(default_factory=dict)


def plan_work(o: Opened) -> Planned:
    """Compare the source with the store, and write down what is to be done.

    Raises:
        ConfigurationError: Something unexplained lies where vectors would be put, or more would be
            deleted than `vector_store` allows.
        SourceError: The source cannot be read at all.
    """
    registry, space, store = o.registry, o.space, o.store
    registry.prepare()
    registry.stores.settle_space(space, o.embedder_space, store.key)
    registry.spaces.record(space)
    store.prepare()
    writer = PlanWriter(o.batches, lane=o.lane, run=o.run, space=space, shards=o.shards)
    asked = registry.plans.asked(o.lane)
    alone = some(o, asked)
    found = compare(
        o,
        some=alone,
        max_delete_fraction=o.vector_store.deletable,
        reject=partial(registry.quarantine.add, o.lane, o.run),
        hold=lambda scope, chunks: registry.quarantine.hold(o.lane, o.run, chunks, scope),
        emit=writer.add,
        why_not=partial(why_not, store),
        log=o.log,
        shards=o.shards,
    )
    o.lease.check()
    if registry.stores.note_unknown_changes(store.key, o.lease, store.newest):
        o.log("the registry knows less than the vectors tell: the index is compared with them")
    check_replaced(o, found.counts)
    spaces.begin(o)
    counts = {
        **dataclasses.asdict(found.counts),
        "rejected": found.rejected,
        "whole": found.whole,
        "settings": settings(o),
        "contents": found.contents.digest(),
    }
    of_shards = found.of_shards
    if alone is not None:
        counts |= alone.counts(found.contents.digest(), changed=any(writer.parts.values()))
        of_shards = [
            each | alone.counts(each["contents"], changed=bool(writer.parts[n]), shard=n)
            for n, each in enumerate(of_shards)
        ]
    plan = writer.finish(counts, of_shards)
    # At once: who carries it out, and is told that there is another one, could only begin anew.
    registry.plans.note(
        o.lease,
        plan.lane,
        plan.id,
        o.run,
        o.batch_store.describe(),
        [n for n in range(o.shards) if o.shards > 1 and not writer.parts[n]],
        until=o.source.changes.until,
        asked="" if alone else asked,
    )
    o.batches.plans.tidy(o.lane.name, o.finished)
    healed = 0
    if found.whole or plan.ids is not None:
        healed = registry.quarantine.release_healed(
            o.lane, o.run, found.scope, of=documents(o, plan)
        )
    quarantined = registry.quarantine.entries(o.lane, limit=QUARANTINE_ROWS)
    for space_id, vectors in plan.counts["replaced_spaces"].items():
        o.warn(f"{vectors:,} vectors of the space {space_id} will be replaced by {space.id}")
    work = writer.work()
    if not plan.parts and not any(work.values()):
        of = "" if alone is None else f" of {len(alone.ids):,} records that were compared alone"
        o.log(f"nothing to do: every chunk{of} has its vector")
    return Planned(
        plan, found, healed, quarantined, o.source.describe(), o.source.chunking.describe(), work
    )


def compare(
    o: Opened,
    *,
    max_delete_fraction: float,
    reject: Callable[[Sequence[RejectedRecord]], None],
    hold: Callable[[str, Sequence[Chunk]], object],
    emit: Callable[[Part, int], None],
    why_not: Callable[[Chunk, StoredState], str],
    log: Callable[[str], None],
    shards: int = 1,
    some: Some | None = None,
) -> Comparison:
    """Read the whole source once, and find out what is to be embedded, stored and deleted.

    Writes nothing itself.

    Args:
        o: The pipeline.
        max_delete_fraction: Share of the stored chunks that may be deleted.
        reject: Takes records that cannot be embedded.
        hold: Takes a scope and the chunks that stay in quarantine, because of their text.
        emit: Takes the parts of the plan, in order, each with its shard.
        why_not: Says why a chunk cannot be stored, if it cannot.
        log: Takes lines of progress.
        shards: In how many the plan is divided.
        some: Read these records alone; nothing else is looked at, or taken for gone.
    """
    source, store, embedder, space = o.source, o.store, o.embedder, o.space
    progress = Progress(log, "records read")
    scope = embedder.facts().refusal_scope
    rejected: list[RejectedRecord] = []
    hidden: list[str] = []
    contents = [Contents() for _ in range(shards)]

    def flush() -> None:
        found.rejected += len(rejected)
        reject(rejected)
        rejected.clear()

    def chunks() -> Iterator[Chunk]:
        for record in source.read(o.client, some and some.ids):
            progress.advance(1)
            if isinstance(record, SourceDocument):
                for chunk in map(o.as_its_own, source.chunking.chunks(record)):
                    if size := excess(chunk):
                        rejected.append(_too_large(source, chunk, size))
                        continue
                    if reason := store.why_unreadable(chunk):
                        rejected.append(set_aside(chunk, source.describe(), reason))
                        continue
                    found.characters += len(chunk.text)
                    held = contents[shard_of(chunk.source_id, shards)]
                    held.add(key(chunk.id), chunk.text_hash, chunk.fields_hash)
                    if len(found.preview) < PREVIEW_ROWS:
                        found.preview.append(chunk)
                    yield chunk
                found.documents += 1
            else:
                hidden.extend([record.where] if record.hides else [])
                rejected.append(record)
                if len(rejected) >= 1_000:
                    flush()

    with (
        ExitStack() as after,
        Planner(
            space.id,
            store.stored,
            format=str(store.format),
            chunker=source.chunking.describe(),
            why_not=why_not,
            cut_is_fine=embedder.truncates,
            fields_are=store.fields_are,
            shards=shards,
        ) as planner,
    ):
        found = Comparison(planner.counts, [], scope)
        for apart in planner.add(chunks()):
            rejected += [set_aside(chunk, source.describe(), reason) for chunk, reason in apart]
            flush()
        flush()
        progress.finish()
        found.rate = progress.rate
        after.enter_context(doing("planning", patient=True))
        # A limit that cut the source off: what was not looked at has not vanished. Nor has what may
        # be in lines that could not be told apart.
        ended = source.limit is None or progress.done < source.limit
        found.whole = some is None and not hidden and ended
        if hidden:
            log(
                f"nothing counts as vanished, since {hidden[0]} may hold records of the source "
                "that cannot be read: see the quarantine"
            )
        if found.whole:
            planner.vanished(
                store.ids,
                store.count(),
                max_fraction=max_delete_fraction,
            )
        if some is not None:
            planner.vanished_of(
                store.ids_of(some.ids),
                store.count,
                deleted_before=some.deleted_before,
                max_fraction=max_delete_fraction,
            )
        planner.resolve(
            o.neighbours.known_texts,
            o.batches.texts_by_batch(
                space.id,
                cut=embedder.truncates,
                lately=partial(o.registry.ledger.lately, space.id),
            ),
            lambda _, hashes: o.registry.quarantine.refused_texts(scope, hashes),
            whole=partial(o.batches.has_batch, space.id),
            wider=wider(o, space),
        )
        for held in planner.held():
            hold(scope, held)
        for shard, part in planner.parts(
            max_chunks=embedder.max_batch_chunks,
            max_tokens=embedder.max_batch_tokens,
            tokens=estimate_tokens,
        ):
            emit(part, shard)
        found.counts = planner.counts
        for each in contents:
            found.contents.join(each)
        if shards > 1:
            found.of_shards = [
                {**dataclasses.asdict(counts), "contents": held.digest(), "whole": found.whole}
                for counts, held in zip(planner.by_shard, contents, strict=True)
            ]
    found.seconds = progress.seconds
    return found


def check_replaced(o: Opened, counts: Counts) -> None:
    """Refuse to put too many vectors of another space in the place of those that serve.

    Raises:
        ConfigurationError: More than `model_change` allows.
    """
    change, serving = o.model_change, o.record.serving
    replaced = sum(counts.replaced_spaces.values())
    if serving in (None, o.space.id) or not replaced:
        return  # nothing serves yet, or what serves is put back in its place
    stored = o.store.count()
    if replaced > change.replaceable * stored:
        raise ConfigurationError(
            f"{replaced:,} of {stored:,} vectors at {o.store.key} are of the space {serving}, "
            f"which serves, and would be replaced by those of {o.space.id}: that is over "
            f"{change.max_replace_fraction:.0%}, and nothing is embedded or deleted; let them be "
            "replaced with `model_change: {config: {allow_replace: true}}`, or be built beside, "
            "with `mode: beside`"
        )


def _too_large(source: SourceResource, chunk: Chunk, size: int) -> RejectedRecord:
    reason = (
        f"its text and fields are {size / 1e6:.1f} MB, more than a MongoDB document holds: cut it "
        "with `chunking`, or carry less"
    )
    return set_aside(chunk, source.describe(), reason)


def why_not(store: VectorStore, chunk: Chunk, state: StoredState) -> str:
    """Why a chunk cannot be stored; something unexplained at our path stops the run instead."""
    reason = store.why_not(chunk, state)
    if reason and state.foreign:
        raise ConfigurationError(f"{store.collection.full_name}, _id {chunk.id!r}: {reason}")
    return reason


def set_aside(chunk: Chunk, where: str, reason: str, *, sharded: bool = False) -> RejectedRecord:
    """A chunk as a record for the quarantine; in a pipeline of shards with what tells its shard."""
    slot = slot_of(chunk.source_id) if sharded else None
    return RejectedRecord(chunk.id, where, reason, chunk.text[:EXCERPT_LENGTH], slot=slot)
