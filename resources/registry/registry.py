"""What all pipelines of a deployment share: spaces, vector stores, search indexes, quarantine."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import MongoClient, ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from resources.core.moment import now
from resources.core.space import EmbeddingSpace
from resources.core.store_key import StoreKey
from resources.embedders.batch.jobs import Job
from resources.mongodb.lease import Lease
from resources.registry.ledger import Ledger
from resources.registry.quarantine import Quarantine


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


class Registry:
    """Collections of the registry database.

    `embedding_spaces` says what each space id means; `vector_stores` which space each path holds
    and when it last changed; `vector_store_claims` which pipelines have ever written to it, and
    what they carried; `search_indexes` what each index was built from;
    `embedding_quarantine` what cannot be embedded, and why; `embedding_spend` what every embedding
    batch took; `embedding_requests` the remote requests that are in no batch yet.
    """

    def __init__(self, client: MongoClient, database: str) -> None:
        self._database = client[database]
        self._spaces = self._database["embedding_spaces"]
        self._stores = self._database["vector_stores"]
        self._claims = self._database["vector_store_claims"]
        self._indexes = self._database["search_indexes"]
        self.quarantine = Quarantine(self._database["embedding_quarantine"])
        self._jobs = self._database["embedding_jobs"]
        self.ledger = Ledger(self._database)

    def prepare(self) -> None:
        """Create the indexes of what grows: quarantine and ledger."""
        self.quarantine.prepare()
        self.ledger.prepare()

    def record_space(self, space: EmbeddingSpace) -> None:
        self._spaces.update_one(
            {"_id": space.id},
            {"$setOnInsert": {**space.to_document(), "first_seen": now()}},
            upsert=True,
        )

    def settled_space(self, space: EmbeddingSpace, store: StoreKey) -> EmbeddingSpace:
        """The space as a store has it: one from before servers were told apart stays what it is.

        Such a space is that of the server which the store's pipeline names first, from then on;
        `settle_space` writes it down.
        """
        server, earlier = space.endpoint, space.without_endpoint()
        if not server:
            return space
        known = self.store_claim(store).servers.get(earlier.id)
        if known is None:
            entry = self._stores.find_one({"_id": str(store)}, {"space": 1}) or {}
            known = server if entry.get("space") == earlier.id else ""
        return earlier if known == server else space

    def settle_space(self, space: EmbeddingSpace, wanted: EmbeddingSpace, store: StoreKey) -> None:
        """Note which server a store's space is of, once and for all.

        Args:
            space: As `settled_space` gave it.
            wanted: As the embedder names it.
            store: Name of the store.
        """
        if wanted.provider == "openai":
            name = f"servers.{space.without_endpoint().id}"
            server = wanted.endpoint if space.endpoint == "" else ""
            missing = {"_id": str(store), name: {"$exists": False}}
            with suppress(DuplicateKeyError):  # it is written down already
                self._claims.update_one(missing, {"$set": {name: server}}, upsert=True)

    def space(self, space_id: str) -> EmbeddingSpace | None:
        document = self._spaces.find_one({"_id": space_id})
        return EmbeddingSpace.from_document(document) if document else None

    def int8_scale(self, space_id: str, measure: Callable[[], float] | None = None) -> float | None:
        """The factor that brings the space's float32 vectors to int8; once fixed it stays.

        Args:
            space_id: A recorded space.
            measure: Finds the factor where there is none yet; of two at once, one is kept.
        """
        document = self._spaces.find_one({"_id": space_id}, {"int8_scale": 1}) or {}
        if "int8_scale" in document or measure is None:
            return document.get("int8_scale")
        self._spaces.update_one(
            {"_id": space_id, "int8_scale": {"$exists": False}}, {"$set": {"int8_scale": measure()}}
        )
        return self.int8_scale(space_id)

    def note_store_changes(self, store: StoreKey, lease: Lease) -> None:
        """Note, before a store's vectors are changed, that what was made from them is out of date.

        A run that dies after it has written leaves an index behind that the next one makes anew.
        """
        lease.put(self._stores, str(store), {"revision": secrets.token_hex(8)})

    def record_store(
        self,
        store: StoreKey,
        *,
        pipeline: str,
        space: str,
        stored_as: str,
        revision: str,
        lease: Lease | None = None,
    ) -> None:
        """Note that a store's vectors changed; `revision` changes with every change.

        Raises:
            LeaseError: A newer holder of the lease has noted one.
        """
        values = {
            "pipeline": pipeline,
            "space": space,
            "stored_as": stored_as,
            "revision": revision,
        }
        _put(self._stores, str(store), values, lease)

    def store_claim(self, store: StoreKey) -> StoreClaim:
        """Who is known to have written to a store."""
        return StoreClaim.of(self._claims.find_one({"_id": str(store)}) or {})

    def claim_store(self, store: StoreKey, pipeline: str, carried: Sequence[str]) -> StoreClaim:
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

    def paths(self, collection: str) -> list[str]:
        """At which paths of a collection, named `database.collection`, vectors were ever stored."""
        named = {"$gte": f"{collection}:", "$lt": f"{collection};"}
        found = self._claims.find({"_id": named}, {"_id": 1})
        return [StoreKey.parse(entry["_id"]).path for entry in found]

    def stores(self, space: str) -> list[dict[str, Any]]:
        """Every store of a space: `_id` as `database.collection:path`, `pipeline`, `stored_as`."""
        return list(self._stores.find({"space": space}).sort("_id", 1))

    def stored_as(self, store: StoreKey) -> str | None:
        """The format that the store's vectors were last written in."""
        document = self._stores.find_one({"_id": str(store)})
        return document.get("stored_as") if document else None

    def store_revision(self, store: StoreKey) -> str | None:
        document = self._stores.find_one({"_id": str(store)})
        return document["revision"] if document else None

    def record_index(self, index: str, entry: dict[str, Any], lease: Lease | None = None) -> None:
        """Note what an index was built from, and what serves it.

        Raises:
            LeaseError: A newer holder of the lease has noted another.
        """
        _put(self._indexes, index, entry, lease)

    def note_on_index(self, index: str, values: dict[str, Any]) -> None:
        """Add to an index's entry what holds for whichever run has made it."""
        self._indexes.update_one({"_id": index}, {"$set": values})

    def index(self, index: str) -> dict[str, Any] | None:
        return self._indexes.find_one({"_id": index})

    def jobs(self, pipeline: str, run: str, written: Callable[[str], bool]) -> "PipelineJobs":
        """A pipeline's batch jobs; `written` tells whether the batch store has a batch."""
        return PipelineJobs(self._jobs, pipeline, run, written)


class PipelineJobs:
    """The batch jobs of one pipeline, as `resources.embedders.batch.jobs.Jobs`."""

    def __init__(
        self, collection: Collection, pipeline: str, run: str, written: Callable[[str], bool]
    ) -> None:
        self.pipeline = pipeline
        self._collection, self._run, self._written = collection, run, written

    def find(self, space: str) -> list[Job]:
        found = []
        for entry in self._collection.find({"pipeline": self.pipeline, "space": space}):
            job = Job(
                entry["job"], space, bytes(entry["texts"]), _utc(entry["submitted_at"]),
                entry["provider_job"], entry["file"], entry["status"],
            )  # fmt: skip
            if self._written(job.batch):
                self.remove(job.name)  # a run died right after it had written it
            else:
                found.append(job)
        return found

    def record(self, job: Job) -> None:
        values = {
            "pipeline": self.pipeline,
            "batch": job.batch,
            "job": job.name,
            "space": job.space,
            "texts": job.texts,
            "submitted_at": job.submitted,
            "provider_job": job.id,
            "file": job.file,
            "status": job.status,
            "at": now(),
        }
        self._collection.update_one(
            {"_id": self._id(job.name)},
            {"$set": values, "$setOnInsert": {"run": self._run}},
            upsert=True,
        )

    def remove(self, name: str) -> None:
        self._collection.delete_one({"_id": self._id(name)})

    def _id(self, name: str) -> str:
        # Another pipeline may embed the same texts, and wait for a job of its own.
        return f"{self.pipeline}/{name}"


def _put(collection: Collection, key: str, values: dict[str, Any], lease: Lease | None) -> None:
    values = {**values, "at": now()}
    if lease is None:
        collection.update_one({"_id": key}, {"$set": values}, upsert=True)
    else:
        lease.put(collection, key, values)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
