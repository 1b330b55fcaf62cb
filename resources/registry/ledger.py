"""What embedding took: an entry for every batch, and every remote request until it is in one.

A request is written down before it is sent and closed when it is answered; the batch that it was
for names it, so it is counted there or here, and never twice. Whatever dies in between, what is
closed was billed, and what was billed is closed or open: closed <= billed <= closed + open.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import fsum
from typing import Any

from pymongo import WriteConcern
from pymongo.database import Database
from pymongo.errors import PyMongoError

from resources.batch_store.store import EmbeddingBatch
from resources.core.days import ALWAYS, Days
from resources.core.lane import Lane
from resources.core.moment import now
from resources.core.windows import windows
from resources.models import catalogue

_NAMES = 5_000
"""Names asked for by one command."""
_LATELY = timedelta(hours=1)

SUMS = ("texts", "tokens", "cost_usd", "requests", "retries")


@dataclass(frozen=True)
class Spend:
    """What embedding took on one day.

    Attributes:
        tokens: Without those that were not known; so is `cost_usd`.
        unanswered: Requests of which nobody knows what was billed.
        unanswered_tokens: Theirs, as estimated.
    """

    day: str
    pipeline: str
    model: str
    texts: int = 0
    tokens: int = 0
    cost_usd: float = 0
    requests: int = 0
    retries: int = 0
    unanswered: int = 0
    unanswered_tokens: int = 0


@dataclass(frozen=True)
class Billed:
    """What a run has been billed, as far as is known; what is not answered yet as estimated."""

    tokens: int = 0
    cost_usd: float = 0.0


class Ledger:
    """Two collections of the registry: `embedding_spend` and `embedding_requests`."""

    def __init__(self, database: Database) -> None:
        self._batches = database["embedding_spend"]
        self._requests = database["embedding_requests"]

    def prepare(self) -> None:
        """Create the indexes of what grows."""
        self._batches.create_index([("model", 1), ("at", -1)])
        self._batches.create_index("batch")
        self._batches.create_index("run")
        self._batches.create_index("request_ids", sparse=True)

    def journal(
        self, lane: Lane, *, run: str, provider: str, model: str, usd_per_million: float | None
    ) -> "RunJournal":
        """Where a run's remote requests are written down, as `resources.embedders.journal`."""
        whose = {"pipeline": lane.pipeline, "space": lane.space_id}
        who = {**whose, "run": run, "provider": provider, "model": model}
        return RunJournal(self._requests, who, usd_per_million)

    def record(self, entry: dict[str, Any]) -> None:
        """Note what one embedding batch took; doing it again changes nothing.

        Args:
            entry: `_id`, `pipeline`, `provider`, `model`, `space`, `run`, `batch`, `at`, what
                `spend` sums up, `seconds` since the run began to embed, and `request_ids`.
        """
        values = {name: value for name, value in entry.items() if name != "_id"}
        named = values.get("request_ids", [])
        key = {"_id": entry["_id"]}
        if self._batches.update_one(key, {"$setOnInsert": values}, upsert=True).upserted_id is None:
            there = self._batches.find_one(key, {"request_ids": 1}) or {}
            named = there.get("request_ids", [])
        if named:
            # They count as a part of the batch from here on; a kill right before is seen to by
            # `spend`. What was never answered stays: nobody knows whether it was billed.
            answered = {"_id": {"$in": list(named)}, "closed": {"$exists": True}}
            self._requests.delete_many(answered)

    def of_batch(self, run: str, batch: str) -> Mapping[str, Any] | None:
        """What a run's part of a batch took; None where nothing was written down."""
        return self._batches.find_one({"_id": f"{run}/{batch}"})

    def tokens_per_text(self, lane: Lane) -> float | None:
        """Mean over all that was embedded there; None where no provider has counted any."""
        counted = {"pipeline": lane.pipeline, "space": lane.space_id, "tokens": {"$gt": 0}}
        sums = {"texts": {"$sum": "$texts"}, "tokens": {"$sum": "$tokens"}}
        stages = [{"$match": counted}, {"$group": {"_id": None, **sums}}]
        row = next(iter(self._batches.aggregate(stages)), None)
        return row["tokens"] / row["texts"] if row and row["texts"] else None

    def lately(self, space_id: str) -> list[str]:
        """Batches of a space that were embedded within the last hour."""
        since = now() - _LATELY
        return self._batches.distinct("batch", {"space": space_id, "at": {"$gte": since}})

    def unrecorded(self, batches: Iterable[str]) -> list[str]:
        """Which of the batches have no entry: a run died right after it had written them."""
        missing: list[str] = []
        for names in windows(batches, _NAMES):
            found = set(self._batches.distinct("batch", {"batch": {"$in": names}}))
            missing += [name for name in names if name not in found]
        return missing

    def spend(self, whose: Lane | str | None = None, days: Days = ALWAYS) -> list[Spend]:
        """Sums by day, pipeline and model, the latest first: of a lane, a pipeline, or all."""
        wanted: dict[str, Any] = {}
        if isinstance(whose, Lane):
            wanted = {"pipeline": whose.pipeline, "space": whose.space_id}
        elif whose:
            wanted = {"pipeline": whose}
        if days.limits:
            wanted["at"] = days.limits
        loose = list(self._requests.find(wanted))
        named = self._named([request["_id"] for request in loose])
        rows: dict[tuple[str, ...], Spend] = {}
        for row in self._batches.aggregate(_by_day(wanted)):
            _add(rows, row["_id"], {name: row[name] for name in SUMS})
        for request in loose:
            closed, tokens = "closed" in request, request.get("tokens")
            if closed and request["_id"] in named:
                continue  # a run died between the batch's entry and this one's removal
            who = {**request, "day": f"{request['at']:%Y-%m-%d}"}
            if closed and tokens is not None:
                cost = request.get("cost_usd") or 0.0
                texts = request["texts"]
                _add(rows, who, {"texts": texts, "tokens": tokens, "cost_usd": cost, "requests": 1})
            else:
                _add(rows, who, {"unanswered": 1, "unanswered_tokens": request["estimate"]})
        return _latest_first(rows.values())

    def models(self) -> list[tuple[str, str]]:
        """Provider and name of every model that has embedded here."""
        both = {"provider": "$provider", "model": "$model"}
        stages = [{"$group": {"_id": both}}, {"$sort": {"_id": 1}}]
        rows = (row["_id"] for row in self._batches.aggregate(stages))
        return [(row["provider"], row["model"]) for row in rows if len(row) == len(both)]

    def billed(self, run: str, *, besides: str) -> Billed:
        """What a run has been billed for other spaces than one: at most, where that is not known.

        Args:
            run: Its id.
            besides: Id of the space that does not count.
        """
        wanted = {"run": run, "space": {"$ne": besides}}
        entries = list(self._batches.find(wanted, {"tokens": 1, "cost_usd": 1}))
        loose = list(self._requests.find(wanted))
        named = self._named([request["_id"] for request in loose])
        for request in loose:
            tokens = request.get("tokens")
            if tokens is None:
                price = request.get("usd_per_million") or 0.0
                tokens, cost = request["estimate"], price * request["estimate"] / 1_000_000
            else:
                cost = request.get("cost_usd")
            if request["_id"] not in named or "closed" not in request:
                entries.append({"tokens": tokens, "cost_usd": cost})
        return Billed(
            sum(entry.get("tokens") or 0 for entry in entries),
            fsum(entry.get("cost_usd") or 0.0 for entry in entries),
        )

    def texts_per_second(self, provider: str, model: str) -> float | None:
        """How fast the model was in its latest run here; None before the first."""
        timed = {"model": model, "provider": provider, "seconds": {"$gt": 0}}
        latest = self._batches.find_one(timed, sort=[("at", -1)])
        if latest is None:
            return None
        batches = list(self._batches.find({**timed, "run": latest["run"]}))
        return sum(batch["texts"] for batch in batches) / max(row["seconds"] for row in batches)

    def _named(self, requests: Sequence[str]) -> set[str]:
        """Which of the requests are counted in a batch's entry."""
        named: set[str] = set()
        for ids in windows(requests, _NAMES):
            held = {"request_ids": {"$in": ids}}
            for entry in self._batches.find(held, {"request_ids": 1}):
                named.update(entry["request_ids"])
        return named


class RunJournal:
    """The remote requests of one run; called from any thread."""

    def __init__(self, collection: Any, who: dict[str, str], price: float | None) -> None:
        self._collection, self._who, self._price = collection, who, price
        # What is lost with the server's memory would hide a bill.
        durable = WriteConcern("majority", j=True)
        self._durable = collection.with_options(write_concern=durable)

    def opened(self, request: str, *, texts: int, tokens: int) -> None:
        entry = {"_id": request, **self._who, "texts": texts, "estimate": tokens, "at": now()}
        if self._price is not None:
            entry["usd_per_million"] = self._price
        self._durable.insert_one(entry)

    def closed(self, request: str, *, tokens: int | None) -> None:
        # An answer that was paid for is not lost for a note: unwritten, it stays open.
        with suppress(PyMongoError):
            if tokens == 0:
                self._collection.delete_one({"_id": request})
                return
            cost = None
            if tokens is not None and self._price is not None:
                cost = self._price * tokens / 1_000_000
            answer = {"closed": now(), "tokens": tokens, "cost_usd": cost}
            self._collection.update_one({"_id": request}, {"$set": answer})


def entry(details: Mapping[str, Any]) -> dict[str, Any]:
    """What a batch took, as its file has it."""
    spent = details["spent"]
    return {**spent, "at": datetime.fromisoformat(spent["at"])}


def entry_of(batch: EmbeddingBatch) -> dict[str, Any] | None:
    """The entry of a batch that was read; None where it tells of no embedding."""
    details = batch.details
    if "spent" in details:
        return entry(details)
    if "run" not in details or not batch.lineage:
        return None  # copied from a store
    # Of an earlier version, which did not write down all that it knew.
    made, provider = batch.lineage[0], batch.space.provider
    tokens = details.get("tokens")
    return {
        "_id": f"{details['run']}/{batch.id}",
        "provider": provider,
        "model": made.model,
        "space": batch.space.id,
        "batch": batch.id,
        "texts": len(batch.lineage),
        "cost_usd": catalogue.cost_usd(provider, made.model, tokens or 0),
        "at": made.at,
        **{
            name: details.get(name)
            for name in ("pipeline", "run", "tokens", "requests", "retries", "throttled_seconds")
        },
    }


def _add(
    rows: dict[tuple[str, ...], Spend], who: Mapping[str, Any], values: Mapping[str, Any]
) -> None:
    """Add to the row of a day, pipeline and model."""
    key = (who["day"], who["pipeline"], who["model"])
    row = rows.get(key) or Spend(*key)
    sums = {name: getattr(row, name) + value for name, value in values.items()}
    rows[key] = replace(row, **sums)


def _by_day(wanted: dict[str, Any]) -> list[dict[str, Any]]:
    day = {"$dateToString": {"format": "%Y-%m-%d", "date": "$at"}}
    key = {"day": day, "pipeline": "$pipeline", "model": "$model"}
    sums = {name: {"$sum": f"${name}"} for name in SUMS}
    return [{"$match": wanted}, {"$group": {"_id": key, **sums}}]


def _latest_first(rows: Iterable[Spend]) -> list[Spend]:
    named = sorted(rows, key=lambda row: (row.pipeline, row.model))
    return sorted(named, key=lambda row: row.day, reverse=True)
