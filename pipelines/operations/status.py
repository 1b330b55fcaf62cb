"""How all pipelines are: what serves, whether it is up to date, when it last ran, what it costs."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from assets.checks import MAX_QUARANTINE_SHARE
from assets.work.alongside import alongside
from assets.work.opened import Opened
from pipelines.framework.modules import Declared
from pipelines.framework.sensing.runs import under_way
from pipelines.operations.runs import RunRecord, records, runs_of
from pipelines.operations.several import PATIENCE_SECONDS, Looks, Unseen, address, chosen
from resources.core.days import Days
from resources.core.errors import EmbeddingsError
from resources.core.lane import Lane
from resources.core.moment import now
from resources.core.progress import duration
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.freshness.resource import FreshnessResource
from resources.models import catalogue, lifecycle
from resources.models.model_folder import is_on_disk
from resources.registry.indexes import IndexEntry
from resources.registry.pipeline_spaces import State

COUNTED = 1_000_000
"""Documents of a collection whose vectors are counted, by an index; of more the registry tells."""
SCANNED = 20_000
"""Likewise, where pipelines share a collection: which has how many, no index tells."""


@dataclass(frozen=True)
class IndexStatus:
    """An index against what is stored.

    Attributes:
        state: `ready` serves all that is stored; `stale` serves less, or what is no longer wanted;
            `none` serves nothing.
        engine: Which serves it; None where there is none.
        indexed: Vectors that searches find.
        stored: Vectors of its space at its path, whichever pipeline made them.
        counted: They were counted; else it is what the registry says.
        why: What is wrong, as one sentence; empty where nothing is.
    """

    state: Literal["ready", "stale", "none"]
    engine: str | None = None
    indexed: int = 0
    stored: int = 0
    counted: bool = True
    why: str = ""


@dataclass(frozen=True)
class SpaceStatus:
    """Another space of a pipeline than the one that serves.

    Attributes:
        path: Where its vectors lie, in the documents that hold those of the serving one.
        vectors: Stored when the run that worked on it last had ended; `bytes` of them.
        missing: Chunks that had no vector then, and stood in no quarantine.
        behind: Chunks of the serving space that it has no vector of, or one of another text; None
            where that cannot be counted.
        wanted: The settings ask for it; False where nobody knows.
    """

    space: str
    model: str | None
    state: State
    path: str
    vectors: int
    bytes: int
    chunks: int
    missing: int
    quarantined: int
    behind: int | None = None
    wanted: bool = False


@dataclass(frozen=True)
class LastRun:
    """Of a pipeline, as the Dagster instance has it."""

    id: str
    state: str
    started: datetime
    ended: datetime | None
    by: str


@dataclass(frozen=True)
class PipelineStatus:
    """One pipeline; None is what could not be found out.

    Attributes:
        pipeline: As commands call it.
        space: That searches are answered from.
        model: That made its vectors.
        path: Where its vectors lie.
        bytes: Of the vectors, without an index; None where their format is not known.
        vectors: Of the pipeline, in that space.
        quarantined: Entries of the pipeline in quarantine, for that space.
        last_run: The latest, whatever became of it; None where there was none.
        age_seconds: Since the end of the last run that succeeded.
        spent_usd: On embedding this month, in UTC, at list price; `reranked_usd` on reranking.
        asleep: Its embedded server is not running, which is no fault.
        others: Its other spaces, as their latest runs left them.
        notes: What is worth knowing, and no fault.
        wrong: What is; empty where all is well.
    """

    pipeline: str
    space: str | None = None
    model: str | None = None
    vectors: int | None = None
    quarantined: int | None = None
    index: IndexStatus | None = None
    last_run: LastRun | None = None
    age_seconds: float | None = None
    spent_usd: float | None = None
    reranked_usd: float | None = None
    asleep: bool = False
    path: str | None = None
    bytes: int | None = None
    others: Sequence[SpaceStatus] = field(default=())
    notes: Sequence[str] = field(default=())
    wrong: Sequence[str] = field(default=())


def status(
    names: Sequence[str] = (),
    overrides: Sequence[str | Path] = (),
    *,
    max_age: timedelta | None = None,
    patience: float = PATIENCE_SECONDS,
) -> list[PipelineStatus]:
    """How pipelines are, in the order of their names.

    Args:
        names: Of the pipelines; none for all of the project.
        overrides: YAML run configs merged on top of each pipeline's own.
        max_age: A pipeline whose last good run is older than this is not well; default: what its
            `freshness` calls a failure.
        patience: Seconds to wait for each deployment.
    """
    pipelines = chosen(names)
    looks = Looks(pipelines, Seen(Spending()).look, overrides, patience)
    ran = _runs(pipelines)
    seen = looks.wait()
    return [
        _judged(each, seen[each.name], ran(each), max_age or _promised(each, overrides))
        for each in pipelines
    ]


def _promised(declared: Declared, overrides: Sequence[str | Path]) -> timedelta | None:
    """How old the vectors of a pipeline may be, by its own `freshness`."""
    try:
        found = declared.pipeline and declared.pipeline.resources(overrides)["freshness"]
        promised = found.promised if isinstance(found, FreshnessResource) else None
    except EmbeddingsError:  # what is wrong with its settings is told by who opens it
        return None
    return promised and promised[1]


# --- what its deployment says


@dataclass(frozen=True)
class _Stored:
    space: str | None
    model: str | None
    vectors: int
    quarantined: int
    index: IndexStatus
    spent_usd: float
    reranked_usd: float
    path: str
    bytes: int | None
    others: Sequence[SpaceStatus]
    notes: Sequence[str]
    undone: str = ""


class Spending:
    """What pipelines have spent this month, by deployment, each of which is asked once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledgers: dict[tuple[str, str], tuple[threading.Lock, dict[str, list[float]]]] = {}

    def of(self, opened: Opened) -> tuple[float, float]:
        """Of a pipeline, on embedding and on reranking."""
        key = address(opened), opened.mongodb.registry
        with self._lock:
            lock, sums = self._ledgers.setdefault(key, (threading.Lock(), {}))
        with lock:
            if not sums:
                sums[""] = [0.0, 0.0]
                month = Days.of_month(now().date())
                registry = opened.registry
                for row in registry.ledger.spend(days=month):
                    sums.setdefault(row.pipeline, [0.0, 0.0])[0] += row.cost_usd
                for row in registry.reranked.spend(days=month):
                    sums.setdefault(row.pipeline, [0.0, 0.0])[1] += row.cost_usd
        embedding, reranking = sums.get(opened.name, (0.0, 0.0))
        return embedding, reranking


@dataclass(frozen=True)
class Seen:
    """Looks at a pipeline in its deployment."""

    spending: Spending

    def look(self, opened: Opened) -> _Stored:
        record, registry = opened.record, opened.registry
        serving = record.entry(record.serving)
        o = opened.at(serving.place if serving else "")
        key = o.vector_store.key(o.source)
        entry = registry.indexes.get(o.index_key)
        held = registry.stores.get(key)
        space_id = entry.space_id if entry else held.space_id if held else None
        space = registry.spaces.get(space_id) if space_id else None
        vectors, stored = _counted(o, key, space_id, entry)
        index = _index(o, entry, space, stored)
        wanted, why = _wanted(opened)
        replacing = opened.model_change.mode == "replace" and wanted not in (None, space_id)
        if index.state != "none" and (why or replacing):
            other = f"it holds the space {space_id}, and the settings ask for {wanted}: run it"
            index = replace(index, state="stale", why=why or other)
        model = space.model if space else None
        if space and len(catalogue.members(space.provider, space.model)) > 1:
            said = opened.serving.members()
            model = f"{space.model} ({said})" if said else space.model
        lane = Lane(opened.name, space_id, place=o.place) if space_id else opened.name
        others = tuple(_others(opened, space_id, wanted))
        return _Stored(
            space_id,
            model,
            vectors,
            registry.quarantine.count(lane),
            index,
            *self.spending.of(opened),
            key.path,
            _bytes(o, space, vectors),
            others,
            tuple(_notes(opened, space, wanted, others)),
            "" if o.shards == 1 else _undone(o, lane),
        )


def _undone(o: Opened, lane: Lane | str) -> str:
    """What is missing of the newest plan of a pipeline in shards."""
    kept = o.model_change.keep_serving
    if isinstance(lane, str) or not kept or not o.registry.plans.unfinished(lane, o.shards):
        return ""
    return (
        f"the newest plan of its {o.shards} shards is not carried out: `embeddings run {o.name}`, "
        "or launch in Dagster what is missing of it"
    )


def _others(opened: Opened, serving: str | None, wanted: str | None) -> Iterator[SpaceStatus]:
    """The spaces that are beside the one that serves, or are to replace it."""
    spaces = opened.registry.spaces
    for each in alongside(opened) if len(list(opened.record.entries())) > 1 else ():
        entry = each.entry
        if entry.space_id == serving:
            continue
        meaning = spaces.get(entry.space_id)
        yield SpaceStatus(
            entry.space_id,
            meaning.model if meaning else None,
            each.state,
            each.path,
            entry.vectors,
            entry.bytes,
            entry.chunks,
            entry.missing,
            entry.quarantined,
            each.behind,
            entry.space_id == wanted,
        )


def _notes(
    opened: Opened, space: EmbeddingSpace | None, wanted: str | None, others: Sequence[SpaceStatus]
) -> Iterator[str]:
    known = {each.space for each in others} | {space.id if space else None, None}
    if space and wanted not in known and opened.model_change.mode == "beside":
        yield (
            f"{space.id} serves, and the settings ask for {wanted}: `embeddings run "
            f"{opened.name}` builds it beside"
        )
    if space is not None and (old := lifecycle.outdated_space(space)):
        yield "; ".join(filter(None, [str(old), old.way_out(opened.name)]))


def _bytes(o: Opened, space: EmbeddingSpace | None, vectors: int) -> int | None:
    if space is None:
        return None
    try:
        return vectors * o.vector_store.format(space).bytes_each(space.dimensions)
    except EmbeddingsError:
        return None


def _counted(
    opened: Opened, key: StoreKey, space_id: str | None, entry: IndexEntry | None
) -> tuple[int, int | None]:
    """Vectors of the pipeline, and all of the space at its path; None where there are too many."""
    collection = opened.client[key.database][key.collection]
    lineage = opened.vector_store.lineage_path
    there = collection.estimated_document_count()
    if not there or space_id is None:
        return 0, 0
    if there > COUNTED:
        return min(entry.indexed if entry else there, there), None
    stored = collection.count_documents({f"{lineage}.space": space_id})
    others = opened.registry.stores.claim(key).pipelines - {opened.name}
    if not others or there > SCANNED:
        return stored, stored
    return collection.count_documents({f"{lineage}.pipeline": opened.name}), stored


def _index(
    opened: Opened, entry: IndexEntry | None, space: EmbeddingSpace | None, stored: int | None
) -> IndexStatus:
    """By the space that it holds: the embedder, which may have to be downloaded, is not asked."""
    if entry is None:
        return IndexStatus("none", stored=stored or 0, why="it has not been built yet: run it")
    if space is None:
        why = f"the registry does not know the space {entry.space_id}: run it"
        return IndexStatus("none", entry.engine, stored=stored or 0, why=why)
    registry, declared = opened.registry, opened.search_index
    try:
        store = opened.vector_store.open(
            opened.client, opened.source, space, opened.name, scale_of=registry.spaces.int8_scale
        )
        engine = declared.open(
            opened.client,
            store=store,
            batches=opened.batches,
            registry=registry,
            space=space,
            pipeline=opened.name,
            served_by=entry.engine,
        )
        found = engine.glance(stored)
    except EmbeddingsError as error:
        return IndexStatus("none", entry.engine, stored=stored or 0, why=str(error))
    state = "stale" if found.why else "ready"
    if found.why and not found.indexed:
        state = "none"
    counted = stored is not None
    return IndexStatus(state, engine.name, found.indexed, found.stored, counted, found.why)


def _wanted(opened: Opened) -> tuple[str | None, str]:
    """Id of the space that the settings ask for, None where nobody knows; or why there is none.

    A model that has to be fetched from the hub to be known is not asked.
    """
    provider = opened.embedder.provider
    if isinstance(provider, SentenceTransformersProvider) and not is_on_disk(
        provider.model, provider.revision
    ):
        return None, ""
    try:
        serving = opened.record.entry(opened.record.serving)
        return opened.at(serving.place if serving else "").space.id, ""
    except EmbeddingsError as error:
        return None, str(error)


# --- what the Dagster instance says


@dataclass(frozen=True)
class _Ran:
    """The latest run, the latest that has ended, the latest that succeeded; whether one works."""

    last: RunRecord | None = None
    ended: RunRecord | None = None
    good: RunRecord | None = None
    busy: bool = False
    fault: str = ""


def _runs(pipelines: Sequence[Declared]) -> Callable[[Declared], _Ran]:
    found: dict[str, _Ran] = {}
    fault = ""
    try:
        with records() as instance:
            for each in pipelines:
                name = each.pipeline.name if each.pipeline else each.name
                shards = each.pipeline.shards if each.pipeline else 1
                busy = shards > 1 and under_way(instance, name, shards, now().timestamp())
                ran = _Ran(busy=bool(busy))
                for run in runs_of(instance, name):
                    done = run.state not in ("running", "queued")
                    ran = replace(ran, last=ran.last or run)
                    ran = replace(ran, ended=ran.ended or (run if done else None))
                    if run.state == "succeeded":
                        ran = replace(ran, good=run)
                        break
                found[each.name] = ran
    except EmbeddingsError as error:
        fault = str(error)
    return lambda each: found.get(each.name) or _Ran(fault=fault)


# --- what that comes to


def _judged(
    declared: Declared, seen: "_Stored | Unseen", ran: _Ran, max_age: timedelta | None
) -> PipelineStatus:
    last, good = ran.last, ran.good
    age = (now() - good.ended).total_seconds() if good and good.ended else None
    row = PipelineStatus(
        declared.name,
        last_run=last and LastRun(last.id, last.state, last.started, last.ended, last.by),
        age_seconds=age,
    )
    wrong = list(_wrong_runs(ran, age, max_age)) if declared.pipeline else []
    if isinstance(seen, Unseen):
        if not seen.asleep:
            wrong.insert(0, seen.why)
        elif not (ran.last or ran.fault):
            wrong.append("it has not run yet")
        return replace(row, asleep=seen.asleep, wrong=tuple(wrong))
    if seen.undone and not ran.busy:
        wrong.append(seen.undone)
    row = replace(row, **_columns(seen))
    return replace(row, wrong=(*_wrong_store(seen), *wrong))


def _columns(seen: _Stored) -> Mapping[str, object]:
    return {name: getattr(seen, name) for name in seen.__dataclass_fields__ if name != "undone"}


def _wrong_store(seen: _Stored) -> list[str]:
    wrong = []
    if seen.index.state != "ready":
        wrong.append(f"index {seen.index.state}: {seen.index.why}")
    total = seen.vectors + seen.quarantined
    if total and seen.quarantined / total > MAX_QUARANTINE_SHARE:
        wrong.append(
            f"{seen.quarantined:,} of {total:,} are in quarantine, more than "
            f"{MAX_QUARANTINE_SHARE:.0%}"
        )
    return wrong


def _wrong_runs(ran: _Ran, age: float | None, max_age: timedelta | None) -> list[str]:
    wrong = [ran.fault] if ran.fault else []
    if ran.ended and ran.ended.state != "succeeded":
        wrong.append(f"the last run {ran.ended.id} {_BECAME[ran.ended.state]}")
    if max_age is None or ran.fault:
        return wrong
    limit = duration(max_age.total_seconds())
    if age is None:
        wrong.append(f"no run has succeeded, and it should every {limit}")
    elif age > max_age.total_seconds():
        wrong.append(f"the last good run ended {duration(age)} ago, over {limit}")
    return wrong


_BECAME = {"failed": "failed", "canceled": "was canceled"}
