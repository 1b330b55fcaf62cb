"""A search index on the server: what it is, and its errors as sentences.

Source of states: MongoDB's `$listSearchIndexes` and mongot's status mapping. `queryable` is not
`status: READY`: an index that was edited stays queryable, with its old definition, while it
builds the new one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from resources.core.errors import SearchIndexError
from resources.mongodb.deployment import (
    NO_SEARCH,
    UNAUTHORIZED,
    is_atlas,
    lacks_search,
    server_message,
)
from resources.search_index.mongodb.definition import TYPE

NAMESPACE_NOT_FOUND, HOST_UNREACHABLE = 26, 6
THREE_WAYS = (
    "use Atlas, the Atlas Local image (see README), or MongoDB Community 8.2 or later with "
    "mongot; or choose `engine: local`"
)
ATLAS_LIMITS = "a free cluster takes 3 search indexes, a flex cluster 10"
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

    @property
    def there(self) -> bool:
        """Whether it is there: neither gone nor going."""
        return self.status not in ("DELETING", "DOES_NOT_EXIST")

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


def _counted(there: Sequence[str]) -> str:
    return f"{len(there)}, {', '.join(there)}" if there else "none that this user can see"


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
        limits = f" ({ATLAS_LIMITS})" if is_atlas(database.client) else ""
        return (
            f"the deployment takes no further search index ({text}); it has "
            f"{_counted(there)}{limits}: remove one, for example with `embeddings index drop "
            "PIPELINE --name NAME`, or choose a larger cluster"
        )
    if lacks_search(error):
        return f"{NO_SEARCH}: {THREE_WAYS}"
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
