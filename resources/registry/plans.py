"""Which plan of a lane is the newest, where it was written, what is done of it: `embedding_plans`.

The plan itself lies in the batch store. Whoever carries it out may be another machine, whose batch
store, by its settings the same, is a folder of its own: only who can tell it from the deployment,
which is one for all, does not take an old plan for the newest, or none for nothing to do.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pymongo.database import Database

from resources.core.errors import BatchStoreError
from resources.core.lane import Lane
from resources.core.moment import now
from resources.mongodb.lease import Lease

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

    def note(self, lease: Lease, lane: Lane, plan: str, run: str, url: str) -> None:
        """While the lane is held.

        Raises:
            LeaseError: It is held no more.
        """
        found = WrittenPlan(plan, run, socket.gethostname(), url, now())
        lease.put(self._plans, lane.name, {**vars(found), "done": {}})

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


def _done(found: Mapping[str, Any], shards: int) -> bool:
    stored = [_part("stored", n) for n in (range(shards) if shards > 1 else [None])]
    done = found.get("done", {})
    return all(done.get(part) == found["plan"] for part in [*stored, _part("indexed", None)])


def _part(step: Step, shard: int | None) -> str:
    return step if shard is None else f"{step}-{shard}"
