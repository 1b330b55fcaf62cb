"""Quotas that pipelines share: `provider_quotas`, a document for each.

Whoever reserves reads the document and writes it again, if nobody else has meanwhile. The moments
in it are the server's: two machines may disagree about the time, but not about how much of it has
passed since the server was asked.
"""

import secrets
from collections.abc import Callable, Sequence
from datetime import UTC
from functools import partial
from typing import Any, TypeVar

from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, DuplicateKeyError, ServerSelectionTimeoutError

from resources.core.moment import elapsed
from resources.embedders.quota import Amount, Change, Place, QuotaSettings, Reserved
from resources.mongodb.lease_entries import server_time
from resources.registry.quota_book import (
    MINUTE,
    Book,
    Limits,
    Terms,
    Wanted,
    at_once,
    differing,
)

T = TypeVar("T")

COLLECTION = "provider_quotas"
TRIES = 5
"""Of a deployment that breaks connections off; one that is gone is waited for by the driver."""
WRITERS = 100
"""Latest writes that are known by name, for who does not hear whether its own came through."""
PATIENCE = 4
"""A reservation may be used for so many times as long as it took to get it, at least."""


class Quota:
    """One quota as a pipeline knows it, as `resources.embedders.quota.SharedQuota`.

    Args:
        collection: `provider_quotas`.
        settings: What the pipeline wants of it.
        pipeline: Its name.
        warn: Told once of another pipeline that wants other limits.
        terms: How it is kept.
    """

    def __init__(
        self,
        collection: Collection,
        settings: QuotaSettings,
        pipeline: str,
        warn: Callable[[str], None] = lambda line: None,
        terms: Terms = MINUTE,
    ) -> None:
        self.limits = settings.limits
        self.at_once, self.transit = at_once(settings.limits, terms), terms.transit
        self._collection, self._name, self._pipeline = collection, settings.name, pipeline
        self._warn, self._terms = warn, terms
        self._told: set[tuple[str, Limits]] = set()
        self._took = 0.0

    def reserve(self, asked: Amount, changes: Sequence[Change]) -> tuple[Reserved, list[Place]]:
        """Reserve an amount, and where changed ones are counted from now on.

        Raises:
            PyMongoError: The deployment was not reached for as long as its time-out.
        """
        began = elapsed()
        life = max(self._terms.life, PATIENCE * self._took)

        def work(book: Book, asked_at: float, limits: Limits) -> tuple[Reserved, list[Place]]:
            places = self._changed(book, asked_at, limits, changes)
            begin, slot = book.reserve(asked, limits, life)
            # The server looked at its clock after it was asked, and before it answered.
            wait = begin - book.at
            first, last = elapsed() + wait, asked_at + wait + life
            return Reserved(asked, first, last, (book.epoch, slot)), places

        found = self._changing(work)
        self._took = elapsed() - began
        return found

    def settle(self, changes: Sequence[Change]) -> None:
        """Give back what will not be used."""
        self._changing(partial(self._changed, changes=changes))

    def _changed(
        self, book: Book, asked_at: float, limits: Limits, changes: Sequence[Change]
    ) -> list[Place]:
        def by_server(moment: float | None) -> float | None:
            return None if moment is None else book.at - (asked_at - moment)

        return [book.change(change, by_server(change.last), limits) for change in changes]

    def _changing(self, work: Callable[[Book, float, Limits], T]) -> T:
        """Change the book as it is, and again until nobody else was faster."""
        failed, tried = 0, dict[str, T]()
        while True:
            try:
                found = self._collection.find_one({"_id": self._name})
                for by in (found or {}).get("by", ()):
                    if by in tried:  # nobody has said so: to do it again would count it twice
                        return tried[by]
                # After that, or the time would be before what another has just written.
                asked_at = elapsed()
                now = server_time(self._collection).replace(tzinfo=UTC).timestamp()
                book = _book(found, self._terms)
                book.turn_to(now)
                limits = book.agree(self._pipeline, self.limits)
                done, by = work(book, asked_at, limits), secrets.token_hex(4)
                tried[by] = done
                if self._written(found, book, by):
                    self._compare(book, limits)
                    return done
            except AutoReconnect as error:
                failed += 1
                if isinstance(error, ServerSelectionTimeoutError) or failed >= TRIES:
                    raise

    def _written(self, found: dict[str, Any] | None, book: Book, by: str) -> bool:
        if found is None:
            try:
                new = {"_id": self._name, "version": 1, "by": [by], **_document(book)}
                self._collection.insert_one(new)
            except DuplicateKeyError:
                return False
            return True
        old, new = found, _document(book)
        change: dict[str, dict[str, Any]] = {"$set": {}, "$unset": {}, "$inc": {"version": 1}}
        for name, value in new.items():
            if name != "slots" and old.get(name) != value:
                change["$set"][name] = value
        for slot in old["slots"].keys() | new["slots"].keys():
            if slot not in new["slots"]:
                change["$unset"][f"slots.{slot}"] = ""
            elif old["slots"].get(slot) != new["slots"][slot]:
                change["$set"][f"slots.{slot}"] = new["slots"][slot]
        change["$push"] = {"by": {"$each": [by], "$slice": -WRITERS}}
        change = {name: what for name, what in change.items() if what}
        seen = {"_id": self._name, "version": found["version"]}
        return bool(self._collection.update_one(seen, change).matched_count)

    def _compare(self, book: Book, limits: Limits) -> None:
        for other in differing(self._pipeline, self.limits, book.wanted):
            if other not in self._told:
                self._told.add(other)
                self._warn(
                    f"the quota {self._name} is {_said(self.limits)} here, and {_said(other[1])} "
                    f"in the pipeline {other[0]}: {_said(limits)} holds while both are at work; "
                    "give it the same limits in both"
                )


def _book(found: dict[str, Any] | None, terms: Terms) -> Book:
    if found is None:
        return Book(terms)
    return Book(
        terms,
        found["at"],
        found["epoch"],
        {int(slot): Amount(*amount) for slot, amount in found["slots"].items()},
        (found["spent"][0], found["spent"][1]),
        {
            each["pipeline"]: Wanted((each["requests"], each["tokens"]), each["at"])
            for each in found["wanted"]
        },
    )


def _document(book: Book) -> dict[str, Any]:
    return {
        "at": book.at,
        "epoch": book.epoch,
        "slots": {str(slot): list(amount) for slot, amount in book.slots.items()},
        "spent": list(book.spent),
        "wanted": [
            {
                "pipeline": name,
                "requests": each.limits[0],
                "tokens": each.limits[1],
                "at": each.at,
            }
            for name, each in sorted(book.wanted.items())
        ],
    }


def _said(limits: Limits) -> str:
    named = zip(limits, ("requests", "tokens"), strict=True)
    said = [f"{limit:,} {name}" for limit, name in named if limit is not None]
    return " and ".join(said) + " a minute"
