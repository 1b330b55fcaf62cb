"""The document of a pipeline's lease: who holds what of it, and how the next holder gets it.

The document is the entry of whoever holds the pipeline whole; whoever holds a shard of it has an
entry in `shards`, by number. Between two steps of a run an entry is `paused`: then the end of a
process says nothing, since under many of Dagster's executors each step is a process of its own.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from resources.core.lane import Finished, Lane
from resources.mongodb.holder import Holder

_GONE = ("host", "pid", "started", "boot", "namespace", "space", "paused")
"""What a released entry of a whole pipeline does not have."""


def take(
    collection: Collection, lane: Lane, holder: Holder, seconds: float, finished: Finished
) -> int | str:
    """The token, or who holds what excludes the lane."""
    now = server_time(collection)
    name = lane.name
    change: dict[str, dict[str, Any]]
    current = collection.find_one({"_id": name})
    if current is None:
        current = {"_id": name, "token": 0, "run": None}
        with suppress(DuplicateKeyError):  # another run was faster; what it has is looked at below
            collection.insert_one(current)
    entries: dict[int | None, Mapping[str, Any]] = {None: current}
    entries |= {int(number): entry for number, entry in current.get("shards", {}).items()}
    own = entries.get(lane.shard, {"run": None})
    rivals = {
        shard: entry
        for shard, entry in entries.items()
        if entry["run"] not in (None, holder.run)
        and lane.excludes(replace(lane, space_id=entry.get("space", ""), shard=shard))
    }
    for shard, entry in rivals.items():
        if not _free(entry, now, finished):
            return _who(replace(lane, shard=shard), entry)
    token = current["token"] if own["run"] == holder.run else _next(current["token"], now)
    mine = {**vars(holder), "space": lane.space_id, "token": token}
    mine["expires_at"] = now + timedelta(seconds=seconds)
    if lane.shard is None:
        change = {"$set": mine, "$unset": {"paused": "", "shards": ""}}
    else:
        change = freeing([shard for shard in rivals if shard != lane.shard])
        change["$set"] = {**change.get("$set", {}), f"shards.{lane.shard}": mine, "token": token}
    # All has to be as it was just read: of two that find the lease free, one gets it.
    seen = {"_id": name, "token": current["token"]}
    for shard, entry in {**rivals, None: current, lane.shard: own}.items():
        at = prefix(shard)
        seen |= {f"{at}run": entry["run"], f"{at}expires_at": entry.get("expires_at")}
    if collection.update_one(seen, change).matched_count:
        return token
    return take(collection, lane, holder, seconds, finished)  # another was faster; look again


def _next(token: int, now: datetime) -> int:
    """Of a new holder: above every one before, whatever the registry still knows of them.

    Where it was lost, or restored to an earlier day, a counter would begin below what newer runs
    have written, and all that the next ones write over it would be refused. Time does not.
    """
    since = now.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return max(token + 1, since // timedelta(milliseconds=1))


def at_work(collection: Collection, lane: Lane, finished: Finished) -> str:
    """Who holds what excludes the lane, in words; empty where nobody does."""
    current = collection.find_one({"_id": lane.name})
    if current is None:
        return ""
    now = server_time(collection)
    entries: dict[int | None, Mapping[str, Any]] = {None: current}
    entries |= {int(number): entry for number, entry in current.get("shards", {}).items()}
    for shard, entry in entries.items():
        other = replace(lane, space_id=entry.get("space", ""), shard=shard)
        if entry["run"] is not None and lane.excludes(other) and not _free(entry, now, finished):
            return _who(other, entry)
    return ""


def prefix(shard: int | None) -> str:
    return "" if shard is None else f"shards.{shard}."


def freeing(shards: Iterable[int | None]) -> dict[str, dict[str, Any]]:
    """The change that frees entries of a lease; the counter stays."""
    values: dict[str, Any] = {}
    gone: dict[str, str] = {}
    for shard in shards:
        if shard is None:
            values["run"] = None
            gone |= dict.fromkeys(_GONE, "")
        else:
            gone[f"shards.{shard}"] = ""
    # A server takes no operator without fields.
    return {name: what for name, what in (("$set", values), ("$unset", gone)) if what}


def _free(entry: Mapping[str, Any], now: datetime, finished: Finished) -> bool:
    """Whether the run of an entry is certainly at work no more."""
    if entry["expires_at"] <= now or finished(entry["run"]):
        return True
    return not entry.get("paused") and Holder.of(entry).died()


def server_time(collection: Collection) -> datetime:
    """The server's clock: those of two machines may differ."""
    return collection.database.client.admin.command("hello")["localTime"]


def _who(lane: Lane, entry: Mapping[str, Any]) -> str:
    return (
        f"run {entry['run']} (process {entry.get('pid')} on {entry.get('host')}) is "
        f"working on {lane}"
    )
