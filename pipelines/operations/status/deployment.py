"""What the deployment of a pipeline says of it."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from assets.work.alongside import alongside
from assets.work.opened import Opened
from pipelines.operations.several import address
from pipelines.operations.status.rows import IndexStatus, SpaceStatus
from resources.core.days import Days
from resources.core.errors import EmbeddingsError
from resources.core.lane import Lane
from resources.core.moment import now
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.models import catalogue, lifecycle
from resources.models.model_folder import is_on_disk
from resources.registry.indexes import IndexEntry

COUNTED = 1_000_000
"""Documents of a collection whose vectors are counted, by an index; of more the registry tells."""
SCANNED = 20_000
"""Likewise, where pipelines share a collection: which has how many, no index tells."""


@dataclass(frozen=True)
class Stored:
    """What stands in the columns of the overview; `undone` is what is missing of a plan."""

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

    def look(self, opened: Opened) -> Stored:
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
        return Stored(
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
