"""A model is withdrawn: who rests on it, what comes next, and what that costs and takes."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.work.opened import Opened
from pipelines.framework.modules import declared
from pipelines.operations.lineage.told import Known
from pipelines.operations.several import PATIENCE_SECONDS, Looks, Unseen, address, chosen
from resources.core.errors import QueryRefused
from resources.core.lane import Lane
from resources.core.lineage import lineage_path
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.models import lifecycle
from resources.models.catalogue import ModelEntry, Status, load_catalogue
from resources.registry.pipeline_spaces import PipelineRecord

COUNTED = 1_000_000
"""Documents of a collection whose vectors are counted; of more the registry tells."""


@dataclass(frozen=True)
class Resting:
    """Vectors of one pipeline's space that the model has made.

    Attributes:
        deployment: Where they are, for people.
        in_code: The pipeline is declared in this project still.
        store: `database.collection:path`.
        state: Of the space: whether people search it now.
        model: That made them, by its own name; the family's where they are too many to look.
        vectors: How many.
        counted: They were counted; else it is what the registry says.
        successor: That its maker recommends; None where the catalogue names none.
        same_space: The successor's vectors may be compared with these: nothing need be embedded.
        tokens: That embedding them again takes, as its model counted them before; None where that
            is not known.
        cost_usd: At the successor's list price; None where tokens or price are not known.
        seconds: At the rate of the successor's latest run here; None before there was one.
    """

    deployment: str
    pipeline: str
    in_code: bool
    store: str
    space: str
    state: Known
    provider: str
    model: str
    vectors: int
    counted: bool
    successor: str | None
    same_space: bool
    tokens: int | None
    cost_usd: float | None
    seconds: float | None


@dataclass(frozen=True)
class Withdrawn:
    """What the catalogue knows of a model; None is what it does not."""

    provider: str
    model: str
    state: Status | None
    deprecated: str | None
    retired: str | None
    successor: str | None


@dataclass(frozen=True)
class Withdrawal:
    """The answer.

    Attributes:
        asked: As it was put.
        models: That are meant: those of this name or family, else all that have it in theirs.
        exact: They are of this name or family.
        resting: Who rests on them; what serves first.
        known: All models that have vectors where it was looked, as `provider/model`.
        unseen: Why of a pipeline's deployment nothing is told.
    """

    asked: str
    models: Sequence[Withdrawn]
    exact: bool
    resting: Sequence[Resting]
    known: Sequence[str]
    unseen: Mapping[str, Unseen]


def withdrawal(
    model: str,
    names: Sequence[str] = (),
    overrides: Sequence[str | Path] = (),
    *,
    to: str | None = None,
    patience: float = PATIENCE_SECONDS,
) -> Withdrawal:
    """Which pipelines have vectors of a model, in whatever space, declared in code or not.

    Args:
        model: Its name, with or without provider or organization; that of its family; or a part.
        names: Of pipelines; none for all that there are in the deployments of this project.
        overrides: YAML run configs merged on top of each pipeline's own.
        to: Another model than the catalogue's successor, `provider/model` or its name.
        patience: Seconds to wait for each deployment.

    Raises:
        QueryRefused: `to` is no model of the catalogue.
    """
    if not model.strip():
        raise QueryRefused("name a model, such as voyage-3.5, or a part of its name")
    successor = _entry(to) if to else None
    pipelines = chosen(names)
    asking = _Asking(set(names and [each.pipeline.name for each in pipelines if each.pipeline]))
    found = Looks(pipelines, asking.read, overrides, patience, wake=bool(names)).wait()
    unseen = {name: each for name, each in found.items() if isinstance(each, Unseen)}
    rows = [row for each in found.values() if not isinstance(each, Unseen) for row in each]
    exact = [row for row in rows if matches(model, row.space, row.model)]
    meant = exact or [row for row in rows if matches(model, row.space, row.model, part=True)]
    in_code = {each.pipeline.name for each in declared() if each.pipeline}
    resting = [row.resting(successor, in_code) for row in meant]
    resting.sort(key=lambda each: (each.state != "serving", -each.vectors, each.pipeline))
    return Withdrawal(
        model,
        _told(model, [(row.space.provider, row.model) for row in meant], exact=bool(exact)),
        bool(exact),
        resting,
        sorted({f"{row.space.provider}/{row.model}" for row in rows}),
        unseen,
    )


def matches(asked: str, space: EmbeddingSpace, model: str, *, part: bool = False) -> bool:
    """Whether somebody means the model that made vectors of a space.

    Args:
        asked: A name: of the model, of its family, or the last part of either; with the provider
            before it or not.
        space: Of the vectors.
        model: That made them.
        part: A part of a name will do.
    """
    wanted = asked.strip().lower()
    full = [name.lower() for name in dict.fromkeys((model, space.model))]
    names = {name for each in full for name in (each, each.split("/")[-1])}
    names |= {f"{space.provider}/{each}".lower() for each in names}
    return any(wanted in each for each in names) if part else wanted in names


def _told(asked: str, made: Sequence[tuple[str, str]], *, exact: bool) -> list[Withdrawn]:
    """The models that are meant, those of the catalogue too that have no vectors here."""
    found = dict.fromkeys(made)
    if exact or not made:
        for entry in load_catalogue().values():
            alike = {entry.model.lower(), entry.model.split("/")[-1].lower(), entry.key.lower()}
            if entry.task == "embed" and asked.strip().lower() in alike:
                found.setdefault((entry.provider, entry.model))
    return [_withdrawn(provider, model) for provider, model in found]


def _withdrawn(provider: str, model: str) -> Withdrawn:
    entry = load_catalogue().get((provider, model))
    if entry is None:
        return Withdrawn(provider, model, None, None, None, None)
    after = lifecycle.successor(entry)
    return Withdrawn(
        provider, model, entry.state(), entry.deprecated, entry.retired, after and after.model
    )


def _entry(name: str) -> ModelEntry:
    wanted = name.strip().lower()
    for entry in load_catalogue().values():
        if entry.task == "embed" and wanted in (entry.model.lower(), entry.key.lower()):
            return entry
    raise QueryRefused(
        f"there is no embedding model {name!r} in the catalogue: see `embeddings models`"
    )


# --- what a deployment says


@dataclass(frozen=True)
class _Made:
    """Vectors of one model in one place, and what embedding them again would go by."""

    deployment: str
    pipeline: str
    store: StoreKey
    space: EmbeddingSpace
    state: Known
    model: str
    vectors: int
    counted: bool
    tokens_per_text: float | None
    rates: "_Rates"

    def resting(self, to: ModelEntry | None, in_code: set[str]) -> Resting:
        entry = load_catalogue().get((self.space.provider, self.model))
        after = to or (lifecycle.successor(entry) if entry else None)
        same = after is not None and (after.provider, after.space) == (
            self.space.provider,
            self.space.model,
        )
        tokens = cost = seconds = None
        if self.tokens_per_text is not None:
            tokens = round(self.tokens_per_text * self.vectors)
        if after is not None:
            if after.usd_per_million == 0:
                cost = 0.0
            elif after.usd_per_million is not None and tokens is not None:
                cost = after.usd_per_million * tokens / 1_000_000
            rate = self.rates.of(after.provider, after.model)
            seconds = self.vectors / rate if rate else None
        return Resting(
            self.deployment,
            self.pipeline,
            self.pipeline in in_code,
            str(self.store),
            self.space.id,
            self.state,
            self.space.provider,
            self.model,
            self.vectors,
            self.counted,
            after.model if after else None,
            same,
            tokens,
            cost,
            seconds,
        )


class _Rates:
    """Texts a second by model, as the ledger of one deployment has them; read at once."""

    def __init__(self, opened: Opened) -> None:
        ledger = opened.registry.ledger
        self._found = {
            (provider, model): ledger.texts_per_second(provider, model)
            for provider, model in ledger.models()
        }

    def of(self, provider: str, model: str) -> float | None:
        return self._found.get((provider, model))


class _Asking:
    """Asks each deployment once; of which pipelines, where not of all."""

    def __init__(self, only: set[str]) -> None:
        self._only, self._lock = only, threading.Lock()
        self._read: set[tuple[str, ...]] = set()

    def read(self, opened: Opened) -> list[_Made]:
        key = (address(opened), opened.mongodb.registry)
        with self._lock:
            if key in self._read:
                return []
            self._read.add(key)
        found = _made(opened)
        return [row for row in found if not self._only or row.pipeline in self._only]


def _made(opened: Opened) -> Iterator[_Made]:
    registry = opened.registry
    spaces, records, rates = registry.spaces.all(), registry.of_pipelines.all(), _Rates(opened)
    states = dict(_states(records))
    stores = sorted({*registry.stores.all(), *(store for _, store, _ in states)})
    for store in stores:
        for pipeline, space_id, model, vectors, counted in _counted(opened, store, records):
            space = spaces.get(space_id)
            if space is None:
                space = EmbeddingSpace("unknown", model, "", 0, "", normalized=True)
            yield _Made(
                opened.mongodb.describe(),
                pipeline,
                store,
                space,
                states.get((pipeline, store, space_id)) or _by_index(opened, store, space_id),
                model,
                vectors,
                counted,
                registry.ledger.tokens_per_text(Lane(pipeline, space_id)),
                rates,
            )


def _by_index(opened: Opened, store: StoreKey, space_id: str) -> Known:
    """Of a pipeline from before its spaces were written down, or of vectors that were left."""
    served = [each.space_id for each in opened.registry.indexes.over(store)]
    return "serving" if space_id in served else "unknown"


def _states(
    records: Sequence[PipelineRecord],
) -> Iterator[tuple[tuple[str, StoreKey, str], Known]]:
    for record in records:
        base = record.store
        for entry in record.entries():
            if not entry.retired:
                store = StoreKey(base.database, base.collection, entry.path(base.path))
                yield (record.pipeline, store, entry.space_id), record.state(entry.space_id)


def _counted(
    opened: Opened, store: StoreKey, records: Sequence[PipelineRecord]
) -> Iterator[tuple[str, str, str, int, bool]]:
    """Pipeline, space, model and count of what lies in a store; whether it was counted."""
    collection, lineage = opened.client[store.database][store.collection], lineage_path(store.path)
    if collection.estimated_document_count() > COUNTED:
        for record in records:
            for entry in record.entries():
                at = StoreKey(store.database, store.collection, entry.path(record.store.path))
                if at == store and record.store.namespace == store.namespace and not entry.retired:
                    meaning = opened.registry.spaces.get(entry.space_id)
                    model = meaning.model if meaning else "unknown"
                    yield record.pipeline, entry.space_id, model, entry.vectors, False
        return
    names = ("pipeline", "space", "model")
    stages: list[dict[str, Any]] = [
        {"$match": {f"{lineage}.space": {"$exists": True}}},
        {
            "$group": {
                "_id": {name: f"${lineage}.{name}" for name in names},
                "vectors": {"$sum": 1},
            }
        },
        {"$sort": {"_id": 1}},
    ]
    for row in collection.aggregate(stages):
        made = row["_id"]
        yield (
            made.get("pipeline") or "unknown",
            made["space"],
            made.get("model") or "unknown",
            row["vectors"],
            True,
        )
