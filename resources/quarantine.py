"""What cannot be embedded, and why: kept until it heals."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pymongo import UpdateOne
from pymongo.collection import Collection

from resources.keys import key
from resources.moment import now
from resources.sources.records import RejectedRecord

Stage = Literal["source", "provider", "store"]


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


class Quarantine:
    """Entries of all pipelines of a deployment, in one collection."""

    def __init__(self, collection: Collection) -> None:
        self._entries = collection

    def prepare(self) -> None:
        """Create the indexes that find a pipeline's entries, and refused texts."""
        self._entries.create_index([("pipeline", 1), ("first_seen", 1)])
        self._entries.create_index([("space", 1), ("text_hash", 1)])

    def add(
        self,
        pipeline: str,
        run: str,
        records: Iterable[RejectedRecord],
        *,
        space: str = "",
        stage: Stage = "source",
    ) -> None:
        """Note what cannot be embedded; the same record again counts up.

        Args:
            pipeline: Whose record it is.
            run: The run that met it.
            records: What cannot be embedded, each with its reason.
            space: The space that a provider would not put the text into.
            stage: Who refuses: the source's reading and comparing, a provider, or MongoDB.
        """
        seen = now()
        writes = []
        for record in records:
            # A record without an id is known by its place.
            name = key(record.id) if record.id is not None else record.where
            writes.append(
                UpdateOne(
                    {"_id": hashlib.sha256(f"{pipeline}\0{name}".encode()).hexdigest()[:32]},
                    {
                        "$setOnInsert": {"first_seen": seen},
                        "$set": {
                            "pipeline": pipeline,
                            "id": record.id,
                            "where": record.where,
                            "reason": record.reason,
                            "excerpt": record.excerpt,
                            "text_hash": record.text_hash,
                            "space": space,
                            "stage": stage,
                            "last_seen": seen,
                            "run": run,
                        },
                        "$inc": {"count": 1},
                    },
                    upsert=True,
                )
            )
        if writes:
            self._entries.bulk_write(writes, ordered=False)

    def refused_texts(self, space: str, text_hashes: Sequence[str]) -> set[str]:
        """Texts that the space's provider has refused: asking again would cost and not help."""
        held = self._entries.find(
            {"space": space, "text_hash": {"$in": list(text_hashes)}}, {"text_hash": 1}
        )
        return {entry["text_hash"] for entry in held}

    def hold(self, pipeline: str, run: str, space: str, text_hashes: Sequence[str]) -> None:
        """Keep refused texts that the source still has in quarantine."""
        self._entries.update_many(
            {"pipeline": pipeline, "space": space, "text_hash": {"$in": list(text_hashes)}},
            {"$set": {"run": run, "last_seen": now()}},
        )

    def release_healed(self, pipeline: str, run: str) -> int:
        """Drop entries that a complete scan of the source by `run` did not meet again.

        Those of MongoDB stay until the run has tried to write them: see `release_stored`.
        """
        gone = {"pipeline": pipeline, "run": {"$ne": run}, "stage": {"$ne": "store"}}
        return self._entries.delete_many(gone).deleted_count

    def release_stored(self, pipeline: str, run: str) -> int:
        """Drop entries of MongoDB that a run which has written everything did not meet again."""
        gone = {"pipeline": pipeline, "run": {"$ne": run}, "stage": "store"}
        return self._entries.delete_many(gone).deleted_count

    def lasting(self, pipeline: str, text_hashes: Sequence[str]) -> set[str]:
        """Which of some refused texts are refused for good."""
        held = self._entries.find(
            {"pipeline": pipeline, "text_hash": {"$in": list(text_hashes)}}, {"text_hash": 1}
        )
        return {entry["text_hash"] for entry in held}

    def entries(self, pipeline: str, limit: int = 0) -> list[Quarantined]:
        cursor = self._entries.find({"pipeline": pipeline}).sort("first_seen", 1).limit(limit)
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

    def count(self, pipeline: str, *stages: Stage) -> int:
        """Entries of a pipeline: all, or those of some stages."""
        wanted = {"stage": {"$in": list(stages)}} if stages else {}
        return self._entries.count_documents({"pipeline": pipeline, **wanted})

    def retry(self, pipeline: str, keys: Sequence[str] | None = None) -> int:
        """Let the next run ask the provider again for texts that it has refused.

        Args:
            pipeline: Whose entries.
            keys: Ids or places, as `entries` shows them; None for all.

        Returns:
            How many were chosen. They stay until a run finds them healed.
        """
        chosen = self._chosen(pipeline, keys)
        return self._entries.update_many(chosen, {"$set": {"space": ""}}).matched_count

    def drop(self, pipeline: str, keys: Sequence[str] | None = None) -> int:
        """Forget entries; what is still wrong comes back with the next run."""
        return self._entries.delete_many(self._chosen(pipeline, keys)).deleted_count

    def _chosen(self, pipeline: str, keys: Sequence[str] | None) -> dict[str, Any]:
        if keys is None:
            return {"pipeline": pipeline}
        wanted = set(keys)
        rows = self._entries.find({"pipeline": pipeline}, {"id": 1, "where": 1})
        return {
            "_id": {"$in": [row["_id"] for row in rows if {str(row["id"]), row["where"]} & wanted]}
        }
