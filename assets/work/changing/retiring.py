"""`retire`: take a space away, and keep the note of what it was."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from assets.work.changing.finding import find
from assets.work.changing.flipping import moment
from assets.work.changing.standing import check_idle
from assets.work.opened import Opened
from assets.work.retention import remove_unneeded
from assets.work.spaces import RACES
from resources.core.errors import SpaceError
from resources.core.moment import now
from resources.core.progress import Progress
from resources.core.windows import windows
from resources.registry.pipeline_spaces import Change, SpaceEntry
from resources.vector_store.remover import VectorRemover

AT_ONCE = 1_000
"""Vectors taken away by one command, after which the lease is looked at."""


@dataclass(frozen=True)
class Retired:
    """What retiring a space came to.

    Attributes:
        vectors: Taken away now; fewer than `entry.vectors` where an earlier attempt took some.
        batches: Embedding batches removed.
        index: Key of its index; empty where that stays, since others are searched by it.
        entry: As it is noted now.
        resumed: An earlier attempt had begun it.
    """

    pipeline: str
    space_id: str
    vectors: int
    batches: int
    index: str
    entry: SpaceEntry
    resumed: bool


def retire(o: Opened, wanted: str, *, force: str | None = None, by: str = "") -> Retired:
    """Drop a space's index, take its vectors away, and remove the batches that nothing needs.

    Killed anywhere and called again, it goes on.

    Args:
        o: The pipeline as its settings have it, opened for somebody who works on it.
        wanted: Id of the space, or the beginning of one.
        force: Why the space that served before is to go sooner than `retire_after_days`.
        by: Who asks.

    Raises:
        SpaceError: It serves, is the way back, is gone already, or a run works on it.
        LeaseError: A run took it over; what is gone is gone, and the rest is there.
    """
    entry = find(o, wanted)
    _check_state(o, entry, force)
    lane = o.lying(entry)
    check_idle(o, lane)
    spaces = o.registry.of_pipelines
    with lane.work():
        if not entry.retired:
            _note(o, entry, force, by)
        # Others may have vectors at this path, which are searched by this index: another pipeline,
        # or the space of this one that replaces it where it lies, or is replaced by it.
        others = spaces.get(o.name, o.base_key).others_at(entry)
        index = ""
        if not others and lane.store.other_owner({"space": {"$ne": None}}) is None:
            index = lane.index_key
            lane.drop_index()
        taken = _take_away(lane)
        batches = _remove_batches(lane)
        lane.registry.quarantine.forget(lane.lane)
    spaces.note(o.record, entry.space_id, cleared=now())
    left = spaces.get(o.name, o.base_key).entry(entry.space_id) or entry
    return Retired(o.name, entry.space_id, taken, batches, index, left, entry.retired)


def _check_state(o: Opened, entry: SpaceEntry, force: str | None) -> None:
    record, name = o.record, entry.space_id
    if name == record.serving:
        raise SpaceError(
            f"{name} serves {o.name}: promote another space first (`embeddings promote {o.name} "
            "SPACE`)"
        )
    if entry.cleared:
        raise SpaceError(f"{name} of {o.name} is gone already, since {moment(entry.cleared)}")
    if not entry.retired and record.serving in record.others_at(entry):
        raise SpaceError(
            f"{name} has begun to replace {record.serving}, which serves {o.name}, in its place: "
            f"`embeddings run {o.name}` with the settings of {record.serving} puts its vectors "
            "back, from the batches, and retires the other; with its own it goes on"
        )
    if name != record.previous or force is not None:
        return
    days = o.model_change.retire_after_days
    until = (entry.since or now()) + timedelta(days=days)
    if until > now():
        raise SpaceError(
            f"{name} served {o.name} until {moment(entry.since)}, and is the way back until "
            f"{moment(until)} (`model_change: {{retire_after_days: {days:g}}}`): wait, or give "
            '`--force "reason"`'
        )


def _note(o: Opened, entry: SpaceEntry, force: str | None, by: str) -> None:
    """That it goes, before anything of it does: from here on nobody can promote it."""
    spaces, name = o.registry.of_pipelines, entry.space_id
    why = f"forced: {force}" if force is not None else ""
    for _ in range(RACES):
        record = spaces.get(o.name, o.base_key)
        if record.serving == name:
            raise SpaceError(f"{name} of {o.name} has just been promoted: it stays")
        values: dict[str, Any] = {f"spaces.{name}.retired": True, f"spaces.{name}.since": now()}
        if record.previous == name:
            values["previous"] = None
        change = Change("retired", name, run=o.run, by=by, why=why)
        if spaces.change(record, change, values) is not None:
            return
    raise SpaceError(f"the spaces of {o.name} are changed by others all the time: try it again")


def _take_away(lane: Opened) -> int:
    """Unset its vectors, and remove the documents that we made and that hold nothing else."""
    store, space_id = lane.store, lane.space.id
    remover = VectorRemover(store, lane.lease, drops_rescore=True)
    wanted = {f"{store.lineage_path}.space": space_id, **store.mine}
    count = store.collection.count_documents(wanted)
    if count:
        lane.registry.stores.note_changes(store.key, lane.lease)
    progress, taken = Progress(lane.log, "vectors taken away", count), 0
    with store.collection.find(wanted, {"_id": 1}, batch_size=AT_ONCE) as cursor:
        for rows in windows(cursor, AT_ONCE):
            lane.lease.check()
            taken += remover.retire([row["_id"] for row in rows], space_id)
            progress.advance(len(rows))
    progress.finish()
    if store.collection.find_one({f"{store.lineage_path}.space": {"$ne": None}}, {"_id": 1}):
        return taken  # of another pipeline, at the same path
    store.drop_helper()
    lane.registry.stores.forget_space(store.key, lane.lease)
    return taken


def _remove_batches(lane: Opened) -> int:
    lane.batches.plans.remove(lane.lane.name, lane.space.id)
    lane.lease.check()
    return remove_unneeded(
        lane.space.id, batches=lane.batches, client=lane.client, registry=lane.registry
    )
