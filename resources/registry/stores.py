"""What each path holds, and who writes there: `vector_stores` and `vector_store_claims`."""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from resources.core.moment import now
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.mongodb.lease import Lease


@dataclass(frozen=True)
class StoreEntry:
    """What a store holds; what no run has come to note is None.

    Attributes:
        pipeline: Which changed it last.
        stored_as: The format that its vectors were last written in.
        revision: Another one after every change.
    """

    key: StoreKey
    pipeline: str | None
    space_id: str | None
    stored_as: str | None
    revision: str | None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "StoreEntry":
        names = ("pipeline", "space", "stored_as", "revision")
        return cls(StoreKey.parse(document["_id"]), *(document.get(name) for name in names))


@dataclass(frozen=True)
class StoreClaim:
    """Who writes to a store.

    Attributes:
        pipelines: All that ever did, since this is written down.
        carried: By pipeline, the paths that it may have carried into its documents.
        marked: Pipelines whose documents from before there was a mark have been looked at.
        servers: By the id of a space without one, the server whose vectors it stands for here.
    """

    pipelines: frozenset[str]
    carried: Mapping[str, Sequence[str]]
    marked: frozenset[str]
    servers: Mapping[str, str]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "StoreClaim":
        pipelines, marked = (frozenset(entry.get(name, ())) for name in ("pipelines", "marked"))
        return cls(pipelines, entry.get("carried", {}), marked, entry.get("servers", {}))


class Stores:
    def __init__(self, database: Database) -> None:
        self._stores = database["vector_stores"]
        self._claims = database["vector_store_claims"]

    def get(self, store: StoreKey) -> StoreEntry | None:
        document = self._stores.find_one({"_id": str(store)})
        return StoreEntry.of(document) if document else None

    def of_space(self, space_id: str) -> list[StoreEntry]:
        """Every store of a space."""
        return [StoreEntry.of(row) for row in self._stores.find({"space": space_id}).sort("_id", 1)]

    def note_changes(self, store: StoreKey, lease: Lease) -> None:
        """Note, before a store's vectors are changed, that what was made from them is out of date.

        A run that dies after it has written leaves an index behind that the next one makes anew.
        """
        lease.put(self._stores, str(store), {"revision": secrets.token_hex(8)})

    def note_unknown_changes(self, store: StoreKey, lease: Lease, newest: int) -> bool:
        """Note changes that the vectors tell of, and the registry does not.

        It was restored to an earlier day, and what was made from the vectors of then is out of
        date by now.

        Args:
            store: Whose vectors.
            lease: Of the pipeline that writes them.
            newest: The highest token in their lineage.

        Returns:
            Whether there are any.
        """
        entry = self._stores.find_one({"_id": str(store)}, {"tokens": 1})
        if entry is None:
            return False
        pipeline = lease.lane.pipeline
        noted = [
            token
            for name, token in entry.get("tokens", {}).items()
            if name.partition("/")[0] == pipeline
        ]
        if newest <= max(noted, default=0):
            return False
        self.note_changes(store, lease)
        return True

    def record(self, store: StoreKey, lease: Lease, *, space_id: str, stored_as: str) -> None:
        """Note that a store's vectors changed.

        Raises:
            LeaseError: A newer holder of the lease has noted one.
        """
        values = {"pipeline": lease.lane.pipeline, "space": space_id, "stored_as": stored_as}
        revision = secrets.token_hex(8)
        lease.put(self._stores, str(store), {**values, "revision": revision, "at": now()})

    def forget_space(self, store: StoreKey, lease: Lease) -> None:
        """Note that no vector is left in a store.

        Raises:
            LeaseError: A newer holder of the lease has noted another.
        """
        lease.put(self._stores, str(store), {"space": None, "revision": secrets.token_hex(8)})

    # --- who writes

    def claim(self, store: StoreKey) -> StoreClaim:
        """Who is known to have written to a store."""
        return StoreClaim.of(self._claims.find_one({"_id": str(store)}) or {})

    def add_claim(self, store: StoreKey, pipeline: str, carried: Sequence[str]) -> StoreClaim:
        """Note that a pipeline writes to a store, before it does; returns what is known then."""
        entry = self._claims.find_one_and_update(
            {"_id": str(store)},
            {"$addToSet": {"pipelines": pipeline, f"carried.{pipeline}": {"$each": list(carried)}}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return StoreClaim.of(entry or {})

    def note_marked(self, store: StoreKey, pipeline: str) -> None:
        """A store's documents from before there was a mark have one now, where they are ours."""
        self._claims.update_one({"_id": str(store)}, {"$addToSet": {"marked": pipeline}})

    def all(self) -> list[StoreKey]:
        """Every place where vectors were ever stored."""
        found = {row["_id"] for each in (self._stores, self._claims) for row in each.find({}, {})}
        return [StoreKey.parse(name) for name in sorted(found)]

    def paths(self, collection: str) -> list[str]:
        """At which paths of a collection, named `database.collection`, vectors were ever stored."""
        start = f"{collection}:"
        names = self._claims.find({"_id": {"$gte": start, "$lt": f"{collection};"}}, {"_id": 1})
        return [entry["_id"].removeprefix(start) for entry in names]

    # --- which server a space from before servers were told apart is of

    def settled_space(self, space: EmbeddingSpace, store: StoreKey) -> EmbeddingSpace:
        """The space as a store has it: one from before servers were told apart stays what it is.

        Such a space is that of the server which the store's pipeline names first, from then on;
        `settle_space` writes it down.
        """
        server, earlier = space.endpoint, space.without_endpoint()
        if not server or space.provider != "openai":
            return space  # no other provider had spaces before servers were told apart
        known = self.claim(store).servers.get(earlier.id)
        if known is None:
            entry = self.get(store)
            known = server if entry and entry.space_id == earlier.id else ""
        return earlier if known == server else space

    def settle_space(self, space: EmbeddingSpace, wanted: EmbeddingSpace, store: StoreKey) -> None:
        """Note which server a store's space is of, once and for all.

        Args:
            space: As `settled_space` gave it.
            wanted: As the embedder names it.
            store: Key of the store.
        """
        if wanted.provider == "openai":
            name = f"servers.{space.without_endpoint().id}"
            server = wanted.endpoint if space.endpoint == "" else ""
            missing = {"_id": str(store), name: {"$exists": False}}
            with suppress(DuplicateKeyError):  # it is written down already
                self._claims.update_one(missing, {"$set": {name: server}}, upsert=True)
