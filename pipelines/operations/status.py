"""How all pipelines are: what serves, whether it is up to date, when it last ran, what it costs."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from assets.checks import MAX_QUARANTINE_SHARE
from assets.work.opened import Opened
from pipelines.framework.modules import Declared
from pipelines.operations.runs import RunRecord, records, runs_of
from pipelines.operations.several import PATIENCE_SECONDS, Looks, Unseen, address, chosen
from resources.core.days import Days
from resources.core.errors import EmbeddingsError
from resources.core.moment import now
from resources.core.progress import duration
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.models import catalogue
from resources.models.model_folder import is_on_disk
from resources.registry.indexes import IndexEntry

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
        vectors: Of the pipeline.
        quarantined: Entries of the pipeline in quarantine.
        last_run: The latest, whatever became of it; None where there was none.
        age_seconds: Since the end of the last run that succeeded.
        spent_usd: On embedding this month, in UTC, at list price; `reranked_usd` on reranking.
        asleep: Its embedded server is not running, which is no fault.
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
        max_age: A pipeline whose last good run is older than this is not well.
        patience: Seconds to wait for each deployment.
    """
    pipelines = chosen(names)
    looks = Looks(pipelines, Seen(Spending()).look, overrides, patience)
    ran = _runs(pipelines)
    seen = looks.wait()
    return [_judged(each, seen[each.name], ran(each), max_age) for each in pipelines]


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
        key = opened.vector_store.key(opened.source)
        registry = opened.registry
        entry = registry.indexes.get(key.index(opened.search_index.name))
        held = registry.stores.get(key)
        space_id = entry.space_id if entry else held.space_id if held else None
        space = registry.spaces.get(space_id) if space_id else None
        vectors, stored = _counted(opened, key, space_id, entry)
        index = _index(opened, entry, space, stored)
        if index.state != "none" and (other := _other_space(opened, space_id)):
            index = replace(index, state="stale", why=other)
        spent = self.spending.of(opened)
        quarantined = registry.quarantine.count(opened.name)
        model = space.model if space else None
        if space and len(catalogue.members(space.provider, space.model)) > 1:
            said = opened.serving.members()
            model = f"{space.model} ({said})" if said else space.model
        return _Stored(space_id, model, vectors, quarantined, index, *spent)


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


def _other_space(opened: Opened, space_id: str | None) -> str:
    """Why the index is not the one that the settings ask for; empty where it is, or nobody knows.

    A model that has to be fetched from the hub to be known is not asked.
    """
    provider = opened.embedder.provider
    if isinstance(provider, SentenceTransformersProvider) and not is_on_disk(
        provider.model, provider.revision
    ):
        return ""
    try:
        wanted = opened.space.id
    except EmbeddingsError as error:
        return str(error)
    if wanted == space_id:
        return ""
    return f"it holds the space {space_id}, and the settings ask for {wanted}: run it"


# --- what the Dagster instance says


@dataclass(frozen=True)
class _Ran:
    """The latest run, the latest that has ended, and the latest that succeeded."""

    last: RunRecord | None = None
    ended: RunRecord | None = None
    good: RunRecord | None = None
    fault: str = ""


def _runs(pipelines: Sequence[Declared]) -> Callable[[Declared], _Ran]:
    found: dict[str, _Ran] = {}
    fault = ""
    try:
        with records() as instance:
            for each in pipelines:
                name = each.pipeline.name if each.pipeline else each.name
                ran = _Ran()
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
    row = replace(row, **_columns(seen))
    return replace(row, wrong=(*_wrong_store(seen), *wrong))


def _columns(seen: _Stored) -> Mapping[str, object]:
    return {name: getattr(seen, name) for name in seen.__dataclass_fields__}


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
