"""One run at a time for each pipeline: a lease in MongoDB that fences off a holder gone stale.

A lock that expires cannot stop a process that was frozen while it held it; a number that grows with
every holder and that every write carries can (Martin Kleppmann, "How to do distributed locking",
2016). The token goes into each vector's lineage, and a write only matches documents whose token is
not newer than its own. The lease document stays when it is released, so that tokens never repeat.

What a holder sends after its last check, frozen in between, is refused wherever it would change
what a newer one has written. It may still bring what no newer one has: at most what is in flight at
once. The next run that reads its source whole compares every chunk with what is stored, and removes
or replaces it.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from pymongo import MongoClient, ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from resources.core.errors import LeaseError
from resources.mongodb.holder import Holder

COLLECTION = "embedding_leases"
POLL_SECONDS = 1.0
RENEWALS_PER_TERM = 4


class Lease:
    """A pipeline, held by this run until it is released or was not renewed in time.

    Args:
        asked: When the server was asked for it: the term began then, not when it answered.

    Attributes:
        pipeline: What is held.
        token: Grows with every new holder of it.
    """

    def __init__(
        self,
        collection: Collection,
        pipeline: str,
        run: str,
        token: int,
        *,
        seconds: float,
        asked: float,
    ) -> None:
        self.pipeline, self.token = pipeline, token
        self._collection, self._run = collection, run
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
        found = self._collection.find_one({"_id": self.pipeline}, {"token": 1})
        return found is None or found["token"] != self.token

    def put(self, collection: Collection, key: str, values: Mapping[str, Any]) -> None:
        """Set values of an entry that run after run writes, unless a newer holder has written it.

        Pipelines may share an entry: each has a token of its own there.

        Raises:
            LeaseError: A newer holder has, or the lease was lost.
        """
        self.check()
        token = f"tokens.{self.pipeline}"
        fenced = {"_id": key, token: {"$not": {"$gt": self.token}}}
        change = {"$set": {**values, token: self.token}}
        try:
            collection.update_one(fenced, change, upsert=True)
        except DuplicateKeyError as error:
            # The fence has not let it through, or another pipeline was faster to make the entry.
            if not collection.update_one(fenced, change).matched_count:
                raise self.stale() from error

    def stale(self) -> LeaseError:
        return LeaseError(
            f"run {self._run} held the pipeline {self.pipeline} but was not heard of for "
            f"{self._seconds:g} s, and may have been replaced by another run: nothing more is "
            "written; run it again (where machines pause longer, raise `mongodb: lease_seconds`)"
        )

    def pause(self) -> None:
        """Stop renewing; the run's next asset has until the lease expires to take it up."""
        self._stop.set()
        self._thread.join()

    def release(self) -> bool:
        """Let the next run begin at once; returns whether it was still held."""
        self.pause()
        gone = dict.fromkeys(("host", "pid", "started", "boot", "namespace"), "")
        freed = self._collection.update_one(self._own(), {"$set": {"run": None}, "$unset": gone})
        return bool(freed.matched_count)

    def _own(self) -> dict[str, Any]:
        return {"_id": self.pipeline, "run": self._run, "token": self.token}

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / RENEWALS_PER_TERM):
            asked = _clock()
            try:
                until = server_time(self._collection) + timedelta(seconds=self._seconds)
                renewed = self._collection.update_one(self._own(), {"$set": {"expires_at": until}})
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
    pipeline: str,
    run: str,
    *,
    seconds: float,
    wait_seconds: float,
    last: bool = True,
    finished: Callable[[str], bool] = lambda run: False,
    log: Callable[[str], None] = lambda line: None,
) -> Iterator[Lease]:
    """Hold a pipeline; between two blocks of one run it stays held, with the same token.

    Args:
        client: The deployment.
        registry: Its registry's database.
        pipeline: What to hold.
        run: Who holds it.
        seconds: After so long without a sign of life another run may take it.
        wait_seconds: How long to wait for another run to end.
        last: Release it at the end; it is released in any case if the block raises.
        finished: Tells whether a run has ended that did not release its lease.
        log: Takes a line when there is something to wait for.

    Raises:
        LeaseError: Another run holds it, or took it over before the block ended.
    """
    collection = client[registry][COLLECTION]
    holder = Holder.here(run)
    waiting, asked = False, 0.0

    def attempt() -> int | None:
        nonlocal waiting, asked
        asked = _clock()
        token = _take(collection, pipeline, holder, seconds, finished)
        if token is None and not waiting:
            waiting = True
            log(f"{_who(collection, pipeline)}; waiting up to {wait_seconds:g} s for it to end")
        return token

    token = Retrying(
        retry=retry_if_result(lambda token: token is None),
        wait=wait_fixed(POLL_SECONDS),
        stop=stop_after_delay(wait_seconds),
        retry_error_callback=lambda state: None,
    )(attempt)
    if token is None:
        raise LeaseError(
            f"{_who(collection, pipeline)}: two runs of one pipeline would do the work twice; "
            "wait for it to end, or raise `mongodb: lease_wait_seconds`"
        )
    lease = Lease(collection, pipeline, run, token, seconds=seconds, asked=asked)
    try:
        yield lease
    except BaseException:
        # What went wrong counts more than a lease that cannot be released: that one expires.
        with suppress(PyMongoError):
            lease.release()
        raise
    if last:
        kept = lease.release()
    else:
        lease.pause()
        kept = not lease.overtaken()
    if not kept:
        # Frozen after its last check: what it has done since may not be what the newer one wants.
        raise lease.stale()


def _take(
    collection: Collection,
    pipeline: str,
    holder: Holder,
    seconds: float,
    finished: Callable[[str], bool],
) -> int | None:
    """The token, or None while another run holds the lease."""
    now = server_time(collection)
    mine = {**vars(holder), "expires_at": now + timedelta(seconds=seconds)}
    current = collection.find_one({"_id": pipeline})
    if current is None:
        try:
            collection.insert_one({"_id": pipeline, "token": 1, **mine})
        except DuplicateKeyError:
            return None  # another run was faster; look again
        return 1
    other = current["run"]
    if other == holder.run:
        token = current["token"]
    elif (
        other is None
        or current["expires_at"] <= now
        or finished(other)
        or Holder.of(current).died()
    ):
        token = current["token"] + 1
    else:
        return None
    # The token has to be the one just read: of two that find the lease free, one gets it.
    taken = collection.find_one_and_update(
        {"_id": pipeline, "run": other, "token": current["token"]},
        {"$set": {**mine, "token": token}},
        return_document=ReturnDocument.AFTER,
    )
    return token if taken else None


def _clock() -> float:
    """Seconds that go on while the machine is suspended, where the system counts those."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


def server_time(collection: Collection) -> datetime:
    """The server's clock: those of two machines may differ."""
    return collection.database.client.admin.command("hello")["localTime"]


def _who(collection: Collection, pipeline: str) -> str:
    current = collection.find_one({"_id": pipeline}) or {}
    return (
        f"run {current.get('run')} (process {current.get('pid')} on {current.get('host')}) is "
        f"working on the pipeline {pipeline}"
    )
