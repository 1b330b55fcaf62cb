"""One run at a time for each lane: a lease in MongoDB that fences off a holder gone stale.

A lock that expires cannot stop a process that was frozen while it held it; a number that grows with
every holder and that every write carries can (Martin Kleppmann, "How to do distributed locking",
2016). The token goes into each vector's lineage, and a write only matches documents whose token is
not newer than its own. One counter gives all of them at one place, whatever the space, and its
document stays when the lease is released, so that tokens never repeat; nor do they where that
document is lost, since a token is the server's time in milliseconds, or more.

What a holder sends after its last check, frozen in between, is refused wherever it would change
what a newer one has written. It may still bring what no newer one has: at most what is in flight at
once. The next run that reads its source whole compares every chunk with what is stored, and removes
or replaces it.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from resources.core.errors import LeaseError
from resources.core.lane import Finished, Lane, unknown
from resources.core.moment import elapsed as _clock
from resources.mongodb.holder import Holder
from resources.mongodb.lease_entries import at_work, freeing, prefix, server_time, take

COLLECTION = "embedding_leases"
POLL_SECONDS = 1.0
RENEWALS_PER_TERM = 4


class Lease:
    """A lane, held by this run until it is released or was not renewed in time.

    Args:
        asked: When the server was asked for it: the term began then, not when it answered.

    Attributes:
        lane: What is held.
        token: Grows with every new holder of anything of the pipeline.
    """

    def __init__(
        self,
        collection: Collection,
        lane: Lane,
        run: str,
        token: int,
        *,
        seconds: float,
        asked: float,
    ) -> None:
        self.lane, self.token = lane, token
        self._collection, self._run, self._at = collection, run, prefix(lane.shard)
        self._seconds = seconds
        self._until = asked + seconds
        self._lost = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Costs nothing: to be asked before every step that spends or writes.

        Raises:
            LeaseError: The lease was lost, or could not be renewed in time.
        """
        if self._lost or _clock() > self._until:
            raise self.stale()

    def overtaken(self) -> bool:
        """Whether another run holds the lease by now; asks the server."""
        return self._collection.find_one(self._own(), {"_id": 1}) is None

    def put(self, collection: Collection, key: str, values: Mapping[str, Any]) -> None:
        """Set values of an entry that run after run writes, unless a newer holder has written it.

        Pipelines may share an entry: each has a token of its own there. So have shards, which may
        be held at once, beside the newest of them all, which a holder of the whole has to beat.

        Raises:
            LeaseError: A newer holder has, or the lease was lost.
        """
        self.check()
        whole, newest = f"tokens.{self.lane.pipeline}", f"tokens.{self.lane.pipeline}/newest"
        if self.lane.shard is None:
            fences, change = (whole, newest), {"$set": {**values, whole: self.token}}
        else:
            own = f"{whole}/{self.lane.shard}"
            fences, change = (whole, own), {"$set": {**values, own: self.token}}
            change["$max"] = {newest: self.token}
        fenced = {"_id": key, **{name: {"$not": {"$gt": self.token}} for name in fences}}
        try:
            collection.update_one(fenced, change, upsert=True)
        except DuplicateKeyError as error:
            # The fence has not let it through, or another pipeline was faster to make the entry.
            if not collection.update_one(fenced, change).matched_count:
                raise self.stale() from error

    def stale(self) -> LeaseError:
        return LeaseError(
            f"run {self._run} held {self.lane} but was not heard of for "
            f"{self._seconds:g} s, and may have been replaced by another run: nothing more is "
            "written; run it again (where machines pause longer, raise `mongodb: lease_seconds`)"
        )

    def pause(self, *, marked: bool = True) -> bool:
        """Stop renewing; the run's next step has until the lease expires to take it up.

        Args:
            marked: The end of this process will not say that the run has ended.

        Returns:
            Whether it was still held.
        """
        self._stop_renewing()
        paused = {"$set": {f"{self._at}paused": marked}}
        return bool(self._collection.update_one(self._own(), paused).matched_count)

    def release(self) -> bool:
        """Let the next run begin at once; returns whether it was still held."""
        self._stop_renewing()
        change = freeing([self.lane.shard])
        return bool(self._collection.update_one(self._own(), change).matched_count)

    def _own(self) -> dict[str, Any]:
        own = {f"{self._at}run": self._run, f"{self._at}token": self.token}
        return {"_id": self.lane.name, **own}

    def _stop_renewing(self) -> None:
        self._stop.set()
        self._thread.join()

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / RENEWALS_PER_TERM):
            asked = _clock()
            try:
                until = server_time(self._collection) + timedelta(seconds=self._seconds)
                renewed = self._collection.update_one(
                    self._own(), {"$set": {f"{self._at}expires_at": until}}
                )
            except PyMongoError:
                continue  # until the term ends there is time to reach the server again
            if not renewed.matched_count:
                self._lost = True
                return
            self._until = asked + self._seconds


@contextmanager
def held(
    client: MongoClient,
    registry: str,
    lane: Lane,
    run: str,
    *,
    seconds: float,
    wait_seconds: float,
    last: bool = True,
    one_process: bool = False,
    finished: Finished = unknown,
    log: Callable[[str], None] = lambda line: None,
    keep: Callable[[BaseException], bool] = lambda error: False,
) -> Iterator[Lease]:
    """Hold a lane; between two blocks of one run it stays held, with the same token.

    Args:
        client: The deployment.
        registry: Its registry's database.
        lane: What to hold; without a shard, all shards of it.
        run: Who holds it.
        seconds: After so long without a sign of life another run may take it.
        wait_seconds: How long to wait for another run to end.
        last: Release it at the end.
        one_process: All steps of the run are done in this process, so its end is the run's.
        finished: Asked about a run that did not release its lease.
        log: Takes a line when there is something to wait for.
        keep: Whether the run goes on after what the block raises; else it is released then.

    Raises:
        LeaseError: Another run holds it, or took it over before the block ended.
    """
    collection = _leases(client, registry)
    holder = Holder.here(run)
    waiting, asked = False, 0.0
    who = ""

    def attempt() -> int | None:
        nonlocal waiting, asked, who
        asked = _clock()
        taken = take(collection, lane, holder, seconds, finished)
        if isinstance(taken, int):
            return taken
        who = taken
        if not waiting:
            waiting = True
            log(f"{who}; waiting up to {wait_seconds:g} s for it to end")
        return None

    token = Retrying(
        retry=retry_if_result(lambda token: token is None),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_after_delay(wait_seconds),
        retry_error_callback=lambda state: None,
    )(attempt)
    if token is None:
        raise LeaseError(
            f"{who}: two runs of one pipeline would do the work twice; "
            "wait for it to end, or raise `mongodb: lease_wait_seconds`"
        )
    lease = Lease(collection, lane, run, token, seconds=seconds, asked=asked)
    try:
        yield lease
    except BaseException as error:
        # What went wrong counts more than a lease that cannot be released: that one expires.
        with suppress(PyMongoError):
            _ = lease.pause(marked=not one_process) if keep(error) else lease.release()
        raise
    if not (lease.release() if last else lease.pause(marked=not one_process)):
        # Frozen after its last check: what it has done since may not be what the newer one wants.
        raise lease.stale()


def holder(client: MongoClient, registry: str, lane: Lane, finished: Finished = unknown) -> str:
    """Who is at work on a lane, in words; empty where nobody is. Nothing is held by looking."""
    return at_work(_leases(client, registry), lane, finished)


def _leases(client: MongoClient, registry: str) -> Collection:
    database = client.get_database(registry, read_preference=ReadPreference.PRIMARY)
    return database[COLLECTION]
