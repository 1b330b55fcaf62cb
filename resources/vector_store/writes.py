"""One unordered bulk write whose refusals are told apart: a document's fault, or the server's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import bson.errors
from pymongo import DeleteOne, InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure

from resources.core.errors import DeploymentError
from resources.mongodb.deployment import PASSING, server_message

Write = InsertOne | UpdateOne | DeleteOne

DUPLICATE_KEY = 11000
TOO_LARGE = {10334, 17419, 17420}
"""BSONObjectTooLarge, and an update whose result is."""
# What a server says of itself, whatever document it was asked to write: unreachable, shutting down,
# not primary, out of time or of room, not allowed (MongoDB's list of error codes, error_codes.yml).
SERVERS_OWN = frozenset(
    {
        6, 7, 13, 18, 24, 46, 50, 63, 64, 89, 91, 112, 134, 150, 165, 189, 202, 225, 234, 251, 262,
        317, 391, 8000, 9001, 10058, 10107, 11600, 11601, 11602, 13388, 13435, 13436, 14031,
    }
)  # fmt: skip
# Raised before anything is sent: what BSON cannot hold, or a document above the server's limit.
_UNSENDABLE = (DocumentTooLarge, bson.errors.BSONError, OverflowError, RecursionError)


@dataclass
class Outcome:
    """What came of some writes, by their position.

    Attributes:
        written: How many found their document, or made it.
        taken: Inserts whose `_id` was there already.
        refused: Writes that the server refuses for their document's sake, with its words.
    """

    written: int = 0
    taken: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Outcome", start: int) -> None:
        self.written += other.written
        self.taken += [start + at for at in other.taken]
        self.refused |= {start + at: reason for at, reason in other.refused.items()}


def write_all(collection: Collection, writes: Sequence[Write]) -> Outcome:
    """Send all; whatever names one document costs that document alone.

    Raises:
        DeploymentError: The server refuses for reasons of its own, or refuses all.
    """
    outcome = _sent(collection, writes)
    if isinstance(outcome, Exception):
        raise _refusal(collection, writes, str(outcome)) from outcome
    return outcome


def _sent(collection: Collection, writes: Sequence[Write]) -> Outcome | Exception:
    """The outcome; the error where not one of them could be sent."""
    try:
        result = collection.bulk_write(list(writes), ordered=False)
    except BulkWriteError as error:
        return _told_apart(collection, writes, error)
    except OperationFailure as error:
        if error.code in SERVERS_OWN or error.has_error_label("RetryableWriteError"):
            raise
        return _halved(collection, writes, error)
    except _UNSENDABLE as error:
        return _halved(collection, writes, error)
    return Outcome(result.inserted_count + result.matched_count + result.deleted_count)


def _told_apart(collection: Collection, writes: Sequence[Write], error: BulkWriteError) -> Outcome:
    details: Any = error.details or {}
    outcome = Outcome(details.get("nInserted", 0) + details.get("nMatched", 0))
    outcome.written += details.get("nRemoved", 0)
    for entry in details.get("writeErrors", []):
        code, at = entry.get("code"), entry["index"]
        if code in SERVERS_OWN:
            said = str(entry.get("errmsg"))
            raise _refusal(collection, writes, said, passing=code in PASSING) from error
        if code == DUPLICATE_KEY and _of_id(entry) and isinstance(writes[at], InsertOne):
            outcome.taken.append(at)
        else:
            outcome.refused[at] = _words(entry)
    if details.get("writeConcernErrors"):
        said = str(details["writeConcernErrors"][0].get("errmsg"))
        raise _refusal(collection, writes, said, passing=True) from error
    return outcome


def _halved(
    collection: Collection, writes: Sequence[Write], error: Exception
) -> Outcome | Exception:
    """A refusal of the whole names no document: found by halves, blamed only if others pass."""
    if len(writes) == 1:
        return error
    middle = len(writes) // 2
    halves = [(0, writes[:middle]), (middle, writes[middle:])]
    found = [(start, half, _sent(collection, half)) for start, half in halves]
    if all(isinstance(came, Exception) for _, _, came in found):
        return error
    outcome = Outcome()
    for start, half, came in found:
        if isinstance(came, Outcome):
            outcome.add(came, start)
        elif len(half) == 1:
            outcome.refused[start] = _said(came)
        else:
            # None of this half passes by itself, but others did: each is looked at alone.
            for at, write in enumerate(half):
                alone = _sent(collection, [write])
                if isinstance(alone, Outcome):
                    outcome.add(alone, start + at)
                else:
                    outcome.refused[start + at] = _said(alone)
    return outcome


def _of_id(entry: dict[str, Any]) -> bool:
    pattern = entry.get("keyPattern")
    return list(pattern) == ["_id"] if pattern else "index: _id_" in str(entry.get("errmsg"))


def _words(entry: dict[str, Any]) -> str:
    if entry.get("code") in TOO_LARGE:
        return (
            "its document has no room for a vector within MongoDB's 16 MiB: give the vectors a "
            "collection of their own (`vector_store`), or make it smaller"
        )
    text = str(entry.get("errmsg") or "the server gives no reason").rstrip(".")
    return f"{text[:300]} (error {entry.get('code')})"


def _said(error: Exception) -> str:
    if isinstance(error, OperationFailure):
        return f"{server_message(error)[:300]} (error {error.code})"
    return f"it cannot be sent: {str(error)[:300] or type(error).__name__}"


def _refusal(
    collection: Collection, writes: Sequence[Write], said: str, *, passing: bool = False
) -> DeploymentError:
    return DeploymentError(
        f"{collection.full_name} refused {len(writes):,} writes: {said[:300].rstrip('.')}; nothing "
        "is lost: run again once the server takes writes",
        passing=passing,
    )
