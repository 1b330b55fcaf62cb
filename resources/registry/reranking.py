"""What reranking took: sums by the day, written behind the searches' backs.

A search does not wait for its bill to be written down. A meter adds up in memory, and writes every
few seconds and when it is closed; what a killed process had not written yet is missing, so that the
sums are a lower bound. Nothing is counted twice, also where the answer to a write was lost.
"""

import atexit
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pymongo
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError

from resources.core.days import ALWAYS, Days
from resources.core.moment import now
from resources.rerankers.facts import Facts

FLUSH_SECONDS = 5.0
"""What a killed process may leave out."""
_CLOSE_SECONDS = 5.0
"""A process that ends waits no longer for a server that is away."""
_WRITES = 100
"""Names of writes kept: more than are under way at once."""
_RACES = 10

SUMS = ("requests", "texts", "tokens", "cost_usd", "unbilled", "unbilled_tokens", "unbilled_usd")


@dataclass(frozen=True)
class RerankSpend:
    """What reranking took on one day.

    Attributes:
        texts: Candidates that were read.
        tokens: As billed; so is `cost_usd`, at list price.
        unbilled: Requests of which nobody knows what was billed: no answer came, or none that says.
        unbilled_tokens: Theirs, as estimated; so is `unbilled_usd`.
    """

    day: str
    pipeline: str
    model: str
    requests: int = 0
    texts: int = 0
    tokens: int = 0
    cost_usd: float = 0
    unbilled: int = 0
    unbilled_tokens: int = 0
    unbilled_usd: float = 0


class RerankLedger:
    """A collection of the registry, with a document for each day, pipeline and model."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def meter(
        self, pipeline: str, facts: Facts, warn: Callable[[str], None] = lambda line: None
    ) -> "RerankMeter":
        """Where a reranker's requests are counted; whoever makes one closes it.

        Args:
            pipeline: Whose searches they are for.
            facts: Of the reranker.
            warn: Told, once, that nothing can be written.
        """
        return RerankMeter(self._collection, pipeline, facts, warn)

    def spend(self, pipeline: str | None = None, days: Days = ALWAYS) -> list[RerankSpend]:
        """Sums by day, pipeline and model, the latest first: of a pipeline, or of all."""
        wanted: dict[str, Any] = {"pipeline": pipeline} if pipeline else {}
        if days.names:
            wanted["day"] = days.names
        order = [("day", -1), ("pipeline", 1), ("model", 1)]
        return [
            RerankSpend(
                row["day"],
                row["pipeline"],
                row["model"],
                **{name: row[name] for name in SUMS if name in row},
            )
            for row in self._collection.find(wanted).sort(order)
        ]


class RerankMeter:
    """Counts the requests of one reranker; called from any thread."""

    def __init__(
        self, collection: Collection, pipeline: str, facts: Facts, warn: Callable[[str], None]
    ) -> None:
        self._collection, self._pipeline, self._facts, self._warn = (
            collection, pipeline, facts, warn,
        )  # fmt: skip
        self._lock, self._write_lock = threading.Lock(), threading.Lock()
        self._sums: dict[str, Counter[str]] = {}
        self._unwritten: list[tuple[str, str, Counter[str]]] = []
        self._timer: threading.Timer | None = None
        self._warned = False

    def add(self, *, texts: int, tokens: int | None, estimate: int) -> None:
        sums: dict[str, Any] = {"requests": 1, "texts": texts}
        if tokens is None:
            cost = self._facts.cost_usd(estimate) or 0.0
            sums |= {"unbilled": 1, "unbilled_tokens": estimate, "unbilled_usd": cost}
        else:
            sums |= {"tokens": tokens, "cost_usd": self._facts.cost_usd(tokens) or 0.0}
        with self._lock:
            if not self._sums and not self._unwritten:
                atexit.register(self.close)
            self._sums.setdefault(f"{now():%Y-%m-%d}", Counter()).update(sums)
            if self._timer is None:
                self._timer = threading.Timer(FLUSH_SECONDS, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write down what has been counted; what cannot be written is kept for the next time."""
        with self._write_lock:
            with self._lock:
                self._timer = None
                self._unwritten += [
                    (uuid.uuid4().hex, day, sums) for day, sums in self._sums.items()
                ]
                self._sums = {}
                waiting = list(self._unwritten)
            for write in waiting:
                try:
                    self._write(*write)
                except PyMongoError as error:
                    self._say(error)
                    return
                with self._lock:
                    self._unwritten.remove(write)
            with self._lock:
                if not self._sums:
                    atexit.unregister(self.close)

    def close(self) -> None:
        """Write down the rest, if a server is there to take it."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        with pymongo.timeout(_CLOSE_SECONDS):
            self.flush()
        atexit.unregister(self.close)

    def _write(self, name: str, day: str, sums: Counter[str]) -> None:
        who = {"day": day, "pipeline": self._pipeline, "model": self._facts.model}
        key = "/".join([day, self._pipeline, self._facts.provider, self._facts.model])
        update = {
            "$inc": dict(sums),
            # The same write once more, because its answer was lost, finds its name and is none.
            "$push": {"writes": {"$each": [name], "$slice": -_WRITES}},
            "$setOnInsert": {**who, "provider": self._facts.provider},
        }
        for _ in range(_RACES):
            try:
                self._collection.update_one(
                    {"_id": key, "writes": {"$ne": name}}, update, upsert=True
                )
                return
            except DuplicateKeyError:
                # It is there already; or another process made the day's document just now.
                if self._collection.find_one({"_id": key, "writes": name}, {"_id": 1}):
                    return

    def _say(self, error: PyMongoError) -> None:
        if not self._warned:
            self._warned = True
            self._warn(
                f"what reranking with {self._facts.model} takes cannot be written down in "
                f"{self._collection.full_name} ({error}): grant the user readWrite on it, or "
                "`embeddings spend` will not show it"
            )
