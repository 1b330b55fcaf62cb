"""What all pipelines of a deployment share: spaces, vector stores, search indexes, quarantine."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import MongoClient, UpdateOne

from resources.chunks import encode
from resources.embedders.space import EmbeddingSpace
from resources.sources.records import RejectedRecord


@dataclass(frozen=True)
class Quarantined:
    """One entry of the quarantine."""

    id: Any
    where: str
    reason: str
    excerpt: str
    count: int
    first_seen: datetime
    last_seen: datetime


class Registry:
    """Collections of the registry database.

    `embedding_spaces` says what each space id means; `vector_stores` which space each path holds
    and when it last changed; `search_indexes` what each index was built from;
    `embedding_quarantine` what cannot be embedded, and why.
    """

    def __init__(self, client: MongoClient, database: str) -> None:
        self._database = client[database]
        self._spaces = self._database["embedding_spaces"]
        self._stores = self._database["vector_stores"]
        self._indexes = self._database["search_indexes"]
        self._quarantine = self._database["embedding_quarantine"]

    def record_space(self, space: EmbeddingSpace) -> None:
        self._spaces.update_one(
            {"_id": space.id},
            {"$setOnInsert": {**space.to_document(), "first_seen": now()}},
            upsert=True,
        )

    def space(self, space_id: str) -> EmbeddingSpace | None:
        document = self._spaces.find_one({"_id": space_id})
        return EmbeddingSpace.from_document(document) if document else None

    def record_store(self, store: str, *, pipeline: str, space: str, revision: str) -> None:
        """Note that a store's vectors changed; `revision` changes with every change."""
        self._stores.update_one(
            {"_id": store},
            {"$set": {"pipeline": pipeline, "space": space, "revision": revision, "at": now()}},
            upsert=True,
        )

    def store_revision(self, store: str) -> str | None:
        document = self._stores.find_one({"_id": store})
        return document["revision"] if document else None

    def record_index(self, index: str, entry: dict[str, Any]) -> None:
        self._indexes.update_one({"_id": index}, {"$set": {**entry, "at": now()}}, upsert=True)

    def index(self, index: str) -> dict[str, Any] | None:
        return self._indexes.find_one({"_id": index})

    def quarantine(self, pipeline: str, run: str, records: Iterable[RejectedRecord]) -> None:
        """Note what cannot be embedded; the same record again counts up."""
        seen = now()
        writes = []
        for record in records:
            # A record without an id is known by its place.
            key = encode(record.id) if record.id is not None else record.where
            writes.append(
                UpdateOne(
                    {"_id": hashlib.sha256(f"{pipeline}\0{key}".encode()).hexdigest()[:32]},
                    {
                        "$setOnInsert": {"first_seen": seen},
                        "$set": {
                            "pipeline": pipeline,
                            "id": record.id,
                            "where": record.where,
                            "reason": record.reason,
                            "excerpt": record.excerpt,
                            "last_seen": seen,
                            "run": run,
                        },
                        "$inc": {"count": 1},
                    },
                    upsert=True,
                )
            )
        if writes:
            self._quarantine.bulk_write(writes, ordered=False)

    def release_healed(self, pipeline: str, run: str) -> int:
        """Drop entries that a complete scan of the source by `run` did not meet again."""
        return self._quarantine.delete_many(
            {"pipeline": pipeline, "run": {"$ne": run}}
        ).deleted_count

    def quarantined(self, pipeline: str, limit: int = 0) -> list[Quarantined]:
        cursor = self._quarantine.find({"pipeline": pipeline}).sort("first_seen", 1).limit(limit)
        return [
            Quarantined(
                entry.get("id"),
                entry["where"],
                entry["reason"],
                entry["excerpt"],
                entry["count"],
                entry["first_seen"],
                entry["last_seen"],
            )
            for entry in cursor
        ]

    def count_quarantined(self, pipeline: str) -> int:
        return self._quarantine.count_documents({"pipeline": pipeline})


def now() -> datetime:
    """The time as MongoDB keeps it: UTC, milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
