"""What has changed in a collection, by MongoDB's change stream: ids, and where it was read to.

Source: MongoDB's manual on change streams; error codes tried on mongod 6.0.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pymongo import MongoClient
from pymongo.change_stream import ChangeStream
from pymongo.errors import OperationFailure, PyMongoError

from resources.core.errors import SourceError
from resources.core.keys import encode, key
from resources.mongodb.deployment import AUTHENTICATION_FAILED, UNAUTHORIZED
from resources.sources.changes import MAX_BYTES, MAX_IDS
from resources.sources.collection import CollectionOrigin
from resources.sources.fields import overlap
from resources.sources.filter_paths import ANYTHING, looked_at, without_positions
from resources.sources.resource import SourceResource

SECONDS = 10.0
"""That one look may take."""
AWAIT_MS = 500
"""Until a look takes the stream to be read to its end."""
EVENTS = 1_000
"""Fetched by one command."""

NOT_A_REPLICA_SET, NO_COLLECTION = 40573, 166
_WRITES = ("insert", "update", "replace", "delete")
_ENDS = {
    "drop": "was dropped",
    "rename": "was renamed, or another one took its name",
    "dropDatabase": "was dropped with its database",
    "invalidate": "is another one now",
}
# Ids and names of fields, and nothing that stands in documents.
_STAGES: list[dict[str, Any]] = [
    {
        "$project": {
            "operationType": 1,
            "documentKey": 1,
            "removed": "$updateDescription.removedFields",
            "cut": "$updateDescription.truncatedArrays.field",
            "set": {
                "$map": {
                    "input": {
                        "$objectToArray": {"$ifNull": ["$updateDescription.updatedFields", {}]}
                    },
                    "in": "$$this.k",
                }
            },
        }
    }
]


class NoChangeStreamError(SourceError):
    """The deployment has none, or none of this collection: for good, until it is another one."""


@dataclass
class Seen:
    """What was read.

    Attributes:
        token: Where the stream was read to, to go on from there.
        ids: Of documents that may have changed, each once, as `Changes.ids` has it, by key.
        lost: Why nobody knows what has changed since; empty where it is known.
        more: There is more to read.
    """

    token: Mapping[str, Any]
    ids: dict[str, str] = field(default_factory=dict)
    lost: str = ""
    more: bool = False


def read_changes(
    client: MongoClient,
    source: SourceResource,
    token: Mapping[str, Any] | None,
    ids: Mapping[str, str],
    *,
    seconds: float = SECONDS,
) -> Seen:
    """Read on in the change stream of a collection.

    Args:
        client: Of its deployment.
        source: What is read of the collection: what changes elsewhere in a document is no change.
        token: From where on; None from now on.
        ids: Known to have changed already, by key.
        seconds: At most so long.

    Raises:
        NoChangeStreamError: There is none.
        PyMongoError: The server cannot be asked, or forbids it.
    """
    origin = source.origin
    assert isinstance(origin, CollectionOrigin)
    _check_server(client)
    if token is None:
        return _from_now(client, origin)
    try:
        return _read(client, source, origin, token, dict(ids), time.monotonic() + seconds)
    except OperationFailure as error:
        if _no_fault_of_the_token(error):
            raise
        # Whatever it says of a token: if the stream can be read without, it was that.
        found = _from_now(client, origin)
        found.lost = f"its place in the change stream is lost (error {error.code})"
        return found


def _read(
    client: MongoClient,
    source: SourceResource,
    origin: CollectionOrigin,
    token: Mapping[str, Any],
    ids: dict[str, str],
    until: float,
) -> Seen:
    read = {source.id_field, *source.text_shape().fields, *source.carry}
    paths = read | set(looked_at(origin.filter))
    size = sum(map(len, ids.values()))
    with _stream(client, origin, start_after=token) as stream:
        while len(ids) < MAX_IDS and size < MAX_BYTES and time.monotonic() < until:
            event = stream.try_next()
            if event is None:
                return Seen(stream.resume_token or token, ids)
            kind = event["operationType"]
            if kind in _ENDS:
                found = _from_now(client, origin)
                found.lost = f"the collection {_ENDS[kind]}"
                return found
            if kind in _WRITES and (kind != "update" or _concerns(event, paths)):
                changed = event["documentKey"]["_id"]
                name = key(changed)
                if name not in ids:
                    ids[name] = encode(changed)
                    size += len(ids[name])
        return Seen(stream.resume_token or token, ids, more=True)


def _from_now(client: MongoClient, origin: CollectionOrigin) -> Seen:
    with _stream(client, origin) as stream:
        stream.try_next()
        token = stream.resume_token
        assert token is not None
        return Seen(token)


@contextmanager
def _stream(
    client: MongoClient, origin: CollectionOrigin, **where: Any
) -> Iterator[ChangeStream[dict[str, Any]]]:
    collection = origin.as_it_came(client)
    try:
        with collection.watch(
            _STAGES, max_await_time_ms=AWAIT_MS, batch_size=EVENTS, **where
        ) as stream:
            yield stream
    except OperationFailure as error:
        if error.code == NOT_A_REPLICA_SET:
            raise NoChangeStreamError(
                "this mongod has no change streams, since it is no member of a replica set: the "
                "schedule finds what has changed; a replica set of one member has them"
            ) from error
        if error.code == NO_COLLECTION:
            raise NoChangeStreamError(
                f"{origin.namespace} is a view or a time series, which have no change streams: the "
                "schedule finds what has changed"
            ) from error
        raise


def _check_server(client: MongoClient) -> None:
    if "secantusVersion" in client.admin.command("buildInfo"):
        raise NoChangeStreamError(
            "the embedded server keeps no changes for those that come back later: the schedule "
            "finds what has changed"
        )


def _no_fault_of_the_token(error: PyMongoError) -> bool:
    codes = (UNAUTHORIZED, AUTHENTICATION_FAILED)
    passing = error.has_error_label("ResumableChangeStreamError")
    return passing or getattr(error, "code", None) in codes


def _concerns(event: Mapping[str, Any], paths: set[str]) -> bool:
    """Whether an update changed anything that is read: what runs write in place is not."""
    if ANYTHING in paths:
        return True
    names = [name for what in ("set", "removed", "cut") for name in event.get(what) or ()]
    touched = {each for name in names for each in (name, without_positions(name))}
    return any(overlap(name, path) for name in touched for path in paths)
