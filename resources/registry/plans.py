"""Which plan of a lane is the newest, where it was written, what is done of it: `embedding_plans`.

The plan itself lies in the batch store. Whoever carries it out may be another machine, whose batch
store, by its settings the same, is a folder of its own: only who can tell it from the deployment,
which is one for all, does not take an old plan for the newest, or none for nothing to do.
"""

import re
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pymongo.database import Database

from resources.core.errors import BatchStoreError
from resources.core.lane import Lane
from resources.core.moment import now
from resources.mongodb.lease import Lease
from resources.sources.changes import covers

Step = Literal["stored", "indexed"]


@dataclass(frozen=True)
class WrittenPlan:
    """A finished plan.

    Attributes:
        plan: Its name, which sorts by time.
        run: That made it.
        host: Where.
        url: Of the batch store, as it is shown to people.
    """

    plan: str
    run: str
    host: str
    url: str
    at: datetime


class WrittenPlans:
    """The newest plan of every lane."""

    def __init__(self, database: Database) -> None:
        self._plans = database["embedding_plans"]

    def note(
        self,
        lease: Lease,
        lane: Lane,
        plan: str,
        run: str,
        url: str,
        idle: Sequence[int] = (),
        *,
        until: str = "",
        asked: str = "",
    ) -> None:
        """While the lane is held.

        Args:
            lease: By which it is.
            lane: Whose plan it is.
            plan: Its name.
            run: That made it.
            url: Of the batch store.
            idle: Shards that it asks nothing of: theirs is done.
            until: What a sensor has handed over, this plan included; empty where it was no sensor.
            asked: As `asked` had it before the whole of the source was compared for this.

        Raises:
            LeaseError: It is held no more.
        """
        found = WrittenPlan(plan, run, socket.gethostname(), url, now())
        values = {**vars(found), "done": {_part("stored", shard): plan for shard in idle}}
        before = self._plans.find_one({"_id": lane.name}) or {}
        # Else what was before holds: whoever repeats an older run leaves nothing out by that.
        if until and not covers(before.get("until", ""), until):
            values["until"] = until
        lease.put(self._plans, lane.name, values)
        if asked:
            self._plans.update_one({"_id": lane.name, "asked": asked}, {"$unset": {"asked": 1}})

    def ask_for_all(self, pipeline: str) -> None:
        """Have the next run compare all of the source, in every lane of a pipeline."""
        of = {"_id": {"$regex": rf"^{re.escape(pipeline)}(\.|$)"}}
        self._plans.update_many(of, {"$set": {"asked": secrets.token_hex(8)}})

    def asked(self, lane: Lane) -> str:
        """By what name all of the source was asked for; empty where it was not, or is compared."""
        found = self._plans.find_one({"_id": lane.name}) or {}
        return found.get("asked", "")

    def followed(self, lane: Lane, plan: str, after: str) -> bool:
        """Whether a plan is the newest, and of all that a sensor had handed over until then."""
        found = self._plans.find_one({"_id": lane.name, "plan": plan})
        return found is not None and covers(found.get("until", ""), after)

    def left_out(self, lane: Lane, after: str, *, by_sensor: bool = False) -> bool:
        """Whether a lane that has a plan was not worked on for all that was handed over until then.

        Args:
            lane: Which.
            after: The last that was handed over.
            by_sensor: Only of one that was worked on for something else of that.
        """
        found = self._plans.find_one({"_id": lane.name, "plan": {"$exists": True}})
        if found is None or (by_sensor and "until" not in found):
            return False
        return not covers(found.get("until", ""), after)

    def note_done(self, lease: Lease, lane: Lane, step: Step, plan: str) -> None:
        """Note that a step has done its part of a plan, of which each shard is one.

        Raises:
            LeaseError: The lane is held no more.
        """
        lease.put(self._plans, lane.name, {f"done.{_part(step, lane.shard)}": plan})

    def carried_out(self, lane: Lane, plan: str, shards: int) -> bool:
        """Whether it is the newest plan, and all that it asks for is stored and indexed."""
        found = self._plans.find_one({"_id": lane.name, "plan": plan})
        return found is not None and _done(found, shards)

    def not_stored(self, lane: Lane, plan: str, shards: int) -> list[int]:
        """Shards that have not done their part of a plan: all, if it is not the newest.

        Of a pipeline without shards it is the first that stands for all of it.
        """
        found = self._plans.find_one({"_id": lane.name, "plan": plan})
        return _missing(found or {"plan": plan}, shards)

    def is_newest(self, lane: Lane, plan: str) -> bool:
        """Whether it is the one that was noted last."""
        return self._plans.find_one({"_id": lane.name, "plan": plan}) is not None

    def unfinished(self, lane: Lane, shards: int) -> bool:
        """Whether there is a newest plan of which something is not stored, or not indexed."""
        found = self._plans.find_one({"_id": lane.name, "plan": {"$exists": True}})
        return found is not None and not _done(found, shards)

    def check(self, lane: Lane, newest: str | None, url: str) -> None:
        """Refuse to go by a plan that is not the newest, or by none where there is one.

        Args:
            lane: Whose.
            newest: The newest plan that can be read here; None where there is none.
            url: Of the batch store here.

        Raises:
            BatchStoreError: A newer one was written, which cannot be read here.
        """
        found = self._plans.find_one({"_id": lane.name, "plan": {"$exists": True}})
        if found is None or (newest is not None and newest >= found["plan"]):
            return
        here, host = socket.gethostname(), found["host"]
        if host == here and newest is None:
            return  # it is gone, and what to do then is told by who misses it
        there = "" if (host, found["url"]) == (here, url) else f", on {host} to {found['url']},"
        raise BatchStoreError(
            f"{here} does not find the plan {found['plan']} of {lane.name} in {url}, which the run "
            f"{found['run']} has written{there}: all machines that work on a pipeline have to "
            "reach the same batches; name a folder that they share, or an object store, as "
            "`batch_store: url` (where that is so, materialize the whole pipeline once)"
        )


def _missing(found: Mapping[str, Any], shards: int) -> list[int]:
    parts = [_part("stored", n if shards > 1 else None) for n in range(shards)]
    done = found.get("done", {})
    return [n for n, part in enumerate(parts) if done.get(part) != found["plan"]]


def _done(found: Mapping[str, Any], shards: int) -> bool:
    indexed = found.get("done", {}).get(_part("indexed", None))
    return indexed == found["plan"] and not _missing(found, shards)


def _part(step: Step, shard: int | None) -> str:
    return step if shard is None else f"{step}-{shard}"
