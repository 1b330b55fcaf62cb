"""A search index on the server: what it is, waiting for it, and its errors as sentences.

Source of states: MongoDB's `$listSearchIndexes` and mongot's status mapping. `queryable` is not
`status: READY`: an index that was edited stays queryable, with its old definition, while it
builds the new one.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from resources.core.errors import SearchIndexError
from resources.core.progress import EVERY_SECONDS, duration
from resources.mongodb.deployment import UNAUTHORIZED, lacks_search, server_message
from resources.search_index.mongodb.definition import TYPE

NAMESPACE_NOT_FOUND, HOST_UNREACHABLE = 26, 6
THREE_WAYS = (
    "use Atlas, the Atlas Local image (see README), or MongoDB Community 8.2 or later with "
    "mongot; or choose `engine: local`"
)
SETTLED = 3
"""So many polls without a document more, and what is missing is not on its way."""
LINGERING = 5
"""Polls for which the failure of an index that was just corrected may still be listed."""
MAX_COLLECTIONS = 200
_SYSTEM = ("admin", "local", "config", "__mdb_internal_search")


@dataclass(frozen=True)
class IndexState:
    """One entry of `$listSearchIndexes`.

    Attributes:
        name: Of the index.
        type: `vectorSearch` or `search`.
        status: PENDING, BUILDING, READY, STALE, FAILED, DELETING or DOES_NOT_EXIST.
        queryable: Whether searches find anything, be it by an older definition.
        definition: The latest, which need not be the one that serves.
        version: Of the latest definition; None where the server does not tell.
        indexed: Documents in the index; None where the server does not tell.
        message: What the server says of a failure.
    """

    name: str
    type: str
    status: str
    queryable: bool
    definition: Mapping[str, Any]
    version: int | None
    indexed: int | None
    message: str

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "IndexState":
        definition = entry.get("latestDefinition") or {}
        version = (entry.get("latestDefinitionVersion") or {}).get("version")
        indexed = entry.get("numDocs")
        status = str(entry.get("status", "PENDING"))
        return cls(
            name=entry["name"],
            type=entry.get("type") or (TYPE if "fields" in definition else "search"),
            status=status,
            queryable=bool(entry.get("queryable", status in ("READY", "STALE"))),
            definition=definition,
            version=None if version is None else int(version),
            indexed=None if indexed is None else int(indexed),
            message="; ".join(dict.fromkeys(_messages(entry))),
        )


def _messages(value: Any) -> Iterator[str]:
    """A failure's text lies in the details of a host's main or staged index."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            if name == "message" and isinstance(part, str) and part:
                yield part
            elif name not in ("latestDefinition", "definition"):
                yield from _messages(part)
    elif isinstance(value, list):
        for part in value:
            yield from _messages(part)


def list_indexes(collection: Collection, name: str | None = None) -> list[IndexState]:
    """Search indexes of a collection, none where there is no such collection."""
    try:
        return [IndexState.from_entry(entry) for entry in collection.list_search_indexes(name)]
    except OperationFailure as error:
        if error.code == NAMESPACE_NOT_FOUND:
            return []
        raise


def find_index(collection: Collection, name: str) -> IndexState | None:
    return next((state for state in list_indexes(collection, name) if state.name == name), None)


def deployment_indexes(client: MongoClient, database: str) -> list[str]:
    """`database.collection:index` of every index that the user may see, up to a few collections.

    Args:
        client: A connected client.
        database: Looked at first; others only where the user may list them.
    """
    try:
        others = [name for name in client.list_database_names() if name not in _SYSTEM]
    except OperationFailure:
        others = []
    found, looked_at = [], 0
    for name in dict.fromkeys([database, *others]):
        try:
            collections = client[name].list_collection_names(filter={"type": "collection"})
        except OperationFailure:
            continue
        for collection in sorted(collections):
            looked_at += 1
            if looked_at > MAX_COLLECTIONS:
                return found
            if collection.startswith("system."):
                continue
            try:
                states = list_indexes(client[name][collection])
            except OperationFailure:
                continue
            found += [f"{name}.{collection}:{state.name}" for state in states]
    return found


def at_limit(error: OperationFailure) -> bool:
    return "maximum number of" in server_message(error).lower()


def already_exists(error: OperationFailure) -> bool:
    text = server_message(error).lower()
    return error.code == 68 or "already exists" in text or "duplicate index" in text


@contextmanager
def index_errors(collection: Collection, name: str) -> Iterator[None]:
    """What the server answers to an index command, as a sentence with a way out.

    Raises:
        SearchIndexError: For any OperationFailure.
    """
    try:
        yield
    except OperationFailure as error:
        raise SearchIndexError(_index_error(error, collection, name)) from error


def _index_error(error: OperationFailure, collection: Collection, name: str) -> str:
    text, where = server_message(error), collection.full_name
    if at_limit(error):
        database = collection.database
        there = deployment_indexes(database.client, database.name)
        return (
            f"the deployment takes no further search index ({text}); it has "
            f"{', '.join(there) or 'none that this user can see'}: remove one, for example with "
            "`embeddings index drop PIPELINE --name NAME`, or choose a larger cluster"
        )
    if lacks_search(error):
        return f"this deployment has no Vector Search ({text}): {THREE_WAYS}"
    if error.code == UNAUTHORIZED:
        return (
            f"the user may not manage the search indexes of {where}: grant it readWrite on the "
            f"database {collection.database.name} ({text})"
        )
    if error.code == HOST_UNREACHABLE or "error connecting to" in text.lower():
        return (
            f"the deployment's search nodes do not answer ({text}): see that mongot is running "
            "and that mongod can reach it, then run again"
        )
    return f"the server refuses the search index {name} of {where} (error {error.code}): {text}"


class IndexWait:
    """Waits for an index, saying in the log how far it is.

    Args:
        collection: Of the index.
        name: Of the index.
        documents: Of the collection; the server counts those in the index, with or without a
            vector.
        poll_seconds: How often the server is asked.
        timeout_seconds: For all that one object waits for.
        log: Where lines go.
    """

    def __init__(
        self,
        collection: Collection,
        name: str,
        *,
        documents: int,
        poll_seconds: float,
        timeout_seconds: float,
        log: Callable[[str], None],
    ) -> None:
        self._collection, self._name = collection, name
        self._documents, self._log = documents, log
        self._poll, self._timeout = poll_seconds, timeout_seconds
        self._start = time.monotonic()
        self._first: tuple[float, int] | None = None
        self._said: tuple[float, str] | None = None

    def until_gone(self) -> None:
        """Until an index that is being deleted is no longer listed.

        Raises:
            SearchIndexError: It takes too long.
        """
        while state := find_index(self._collection, self._name):
            if state.status != "DELETING":
                return  # somebody created it anew
            self._say(state)
            self._pause(state)

    def until_serving(
        self, arrived: Callable[[IndexState], bool], *, was_failed: bool = False
    ) -> IndexState:
        """Until the definition last sent serves searches.

        Args:
            arrived: Whether the server lists that definition already.
            was_failed: The index had failed before it was corrected.

        Raises:
            SearchIndexError: It fails, is dropped meanwhile, or takes too long.
        """
        seen, polls = False, 0
        while True:
            state = find_index(self._collection, self._name)
            if (state is None or state.status == "DELETING") and seen:
                raise SearchIndexError(
                    f"the index {self._name} of {self._collection.full_name} was dropped while it "
                    "was being built: run again to create it"
                )
            here = state is not None and arrived(state)
            if state is not None:
                seen = True
                self._say(state)
                if here and state.status == "READY":
                    return state
                if here and state.status == "FAILED" and not (was_failed and polls < LINGERING):
                    raise SearchIndexError(self._failure(state))
                if here and state.status == "STALE" and self._left <= 0:
                    self._log(
                        f"warning: index {self._name} is still STALE (recovering) after "
                        f"{duration(self._timeout)}: it serves searches, but may lack the latest "
                        "changes"
                    )
                    return state
            self._pause(state)
            polls += 1

    def until_caught_up(self, state: IndexState) -> IndexState:
        """Until every document of the collection is indexed, or no more of them arrive."""
        still = 0
        while (
            state.indexed is not None
            and state.indexed < self._documents
            and still < SETTLED
            and self._left > 0
        ):
            self._say(state)
            time.sleep(min(self._poll, max(self._left, 0)))
            found = find_index(self._collection, self._name)
            if found is None:
                break
            still = still + 1 if found.indexed == state.indexed else 0
            state = found
        return state

    @property
    def _left(self) -> float:
        return self._start + self._timeout - time.monotonic()

    def _pause(self, state: IndexState | None) -> None:
        if self._left <= 0:
            raise SearchIndexError(self._late(state))
        time.sleep(min(self._poll, self._left))

    def _late(self, state: IndexState | None) -> str:
        status = state.status if state else "not listed yet"
        serves = "searches find nothing until then"
        if state and state.queryable:
            serves = "meanwhile the index serves searches as it was before"
        return (
            f"the index {self._name} of {self._collection.full_name} is {status} after "
            f"{duration(self._timeout)}; {serves}. Run again to go on waiting, or raise "
            "`timeout_seconds` of search_index"
        )

    def _failure(self, state: IndexState) -> str:
        serves = "; its earlier definition still serves searches" if state.queryable else ""
        return (
            f"the index {self._name} of {self._collection.full_name} has FAILED: "
            f"{state.message or 'the server gives no reason'}{serves}. Correct search_index, or "
            f"drop the index with `embeddings index drop PIPELINE --name {self._name}` and run "
            "again"
        )

    def _say(self, state: IndexState) -> None:
        now = time.monotonic()
        if state.indexed is not None and self._first is None:
            self._first = (now, state.indexed)
        if self._said and self._said[1] == state.status and now - self._said[0] < EVERY_SECONDS:
            return
        all_in = state.status == "READY" and (state.indexed or 0) >= self._documents
        if all_in and self._said is None:
            return  # nothing to wait for
        self._said = (now, state.status)
        line = f"index {self._name}: {state.status}"
        if state.indexed is not None:
            line += f", {state.indexed:,} of {self._documents:,} documents indexed"
        line += f", {duration(now - self._start)}"
        if self._first and state.indexed is not None and state.indexed < self._documents:
            since, before = self._first
            rate = (state.indexed - before) / max(now - since, 1e-9)
            if rate > 0:
                line += f", about {duration((self._documents - state.indexed) / rate)} left"
        self._log(line)
