"""Which plan of a lane is the newest, and where it was written: `embedding_plans`.

The plan itself lies in the batch store. Whoever carries it out may be another machine, whose batch
store, by its settings the same, is a folder of its own: only who can tell it from the deployment,
which is one for all, does not take an old plan for the newest, or none for nothing to do.
"""

import socket
from dataclasses import dataclass
from datetime import datetime

from pymongo.database import Database

from resources.core.errors import BatchStoreError
from resources.core.lane import Lane
from resources.core.moment import now
from resources.mongodb.lease import Lease


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
        lease.put(self._plans, _key(lane), vars(found))

    def check(self, lane: Lane, newest: str | None, url: str) -> None:
        """Refuse to go by a plan that is not the newest, or by none where there is one.

        Args:
            lane: Whose.
            newest: The newest plan that can be read here; None where there is none.
            url: Of the batch store here.

        Raises:
            BatchStoreError: A newer one was written, which cannot be read here.
        """
        found = self._plans.find_one({"_id": _key(lane)})
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


def _key(lane: Lane) -> str:
    return lane.name if lane.shard is None else f"{lane.name}/{lane.shard}"
