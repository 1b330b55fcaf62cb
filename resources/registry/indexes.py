"""What each search index was built from: `search_indexes`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pymongo.collection import Collection

from resources.core.moment import now
from resources.core.store_key import StoreKey
from resources.core.vectors import Similarity
from resources.mongodb.lease import Lease


@dataclass(frozen=True)
class IndexEntry:
    """What an index was built from, and what serves it.

    Attributes:
        engine: That serves it.
        store: Key of the store, as it is written.
        stored_as: How the vectors were stored that it was built from, and the `similarity` it
            compares them by; None where an earlier version has not noted it.
        version: Of the local index's files, or of the server's definition where it tells.
        indexed: Vectors in it when it was built.
        fingerprint: Of all that makes a local index out of date.
        declaration: What a local index was built by.
        definition: As the server had it when the index was last seen to serve.
        nothing_left_out: The state in which all was looked at, and nothing was missing.
        text_definition: Of the search index over the texts beside it, as the server had it; None
            where there is none.
    """

    engine: str
    space_id: str
    store: str
    version: Any
    indexed: int
    stored_as: str | None = None
    similarity: Similarity | None = None
    fingerprint: str | None = None
    declaration: Mapping[str, Any] | None = None
    definition: Mapping[str, Any] | None = None
    nothing_left_out: Mapping[str, Any] | None = None
    text_definition: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "IndexEntry":
        values = {**document, "space_id": document["space"]}
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})

    def to_document(self) -> dict[str, Any]:
        known = {name: value for name, value in asdict(self).items() if value is not None}
        space_id = known.pop("space_id")
        # Said even where it is None: what was there before must go.
        said = {"version": self.version, "text_definition": self.text_definition}
        return {**known, "space": space_id, **said}


class Indexes:
    """Indexes go by their key: see `StoreKey.index`."""

    def __init__(self, collection: Collection) -> None:
        self._indexes = collection

    def get(self, index: str) -> IndexEntry | None:
        document = self._indexes.find_one({"_id": index})
        # Of an index that another one has beside it only its maker is noted.
        return IndexEntry.of(document) if document and "engine" in document else None

    def over(self, store: StoreKey) -> list[IndexEntry]:
        """What is known of every index over the vectors of a store."""
        found = self._indexes.find({"store": str(store), "engine": {"$exists": True}})
        return [IndexEntry.of(document) for document in found.sort("_id", 1)]

    def record(self, index: str, entry: IndexEntry, lease: Lease | None = None) -> None:
        """Note what an index was built from.

        Raises:
            LeaseError: A newer holder of the lease has noted another.
        """
        values = {**entry.to_document(), "at": now()}
        if lease is None:
            self._indexes.update_one({"_id": index}, {"$set": values}, upsert=True)
        else:
            lease.put(self._indexes, index, values)

    def replace_version(self, index: str, entry: IndexEntry, version: str) -> bool:
        """Let another version of the same content serve, if the entry's still does.

        Returns:
            Whether it did.
        """
        serving = {"_id": index, "engine": entry.engine, "version": entry.version}
        found = self._indexes.update_one(serving, {"$set": {"version": version, "at": now()}})
        return bool(found.matched_count)

    def note_nothing_left_out(self, index: str, state: Mapping[str, Any]) -> None:
        """Whichever run has made the index: in this state of store and index nothing is missing."""
        self._indexes.update_one({"_id": index}, {"$set": {"nothing_left_out": state}})

    def note_maker(self, index: str, pipeline: str, lease: Lease | None = None) -> None:
        """An index on the server is about to be made: only its maker drops it again.

        Raises:
            LeaseError: A newer holder of the lease has noted it.
        """
        values = {"maker": pipeline, "at": now()}
        if lease is None:
            self._indexes.update_one({"_id": index}, {"$set": values}, upsert=True)
        else:
            lease.put(self._indexes, index, values)

    def maker(self, index: str) -> str | None:
        """The pipeline that made an index; None where it is nobody's that we know of."""
        document = self._indexes.find_one({"_id": index}, {"maker": 1})
        return document.get("maker") if document else None

    def forget_maker(self, index: str) -> None:
        """What was made is gone."""
        self._indexes.update_one({"_id": index}, {"$unset": {"maker": ""}})

    def forget(self, index: str) -> None:
        """There is no such index any more: searches are told so."""
        self._indexes.delete_one({"_id": index})
