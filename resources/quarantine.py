"""What cannot be embedded, and why: kept until it heals."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne
from pymongo.collection import Collection

from resources.chunks import encode
from resources.moment import now
from resources.sources.records import RejectedRecord

FIRST_PAUSE = timedelta(minutes=10)
"""Until a text is asked for again whose refusal may not last; doubled each time it is refused."""
LONGEST_PAUSE = timedelta(days=1)


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
        self, pipeline: str, run: str, records: Iterable[RejectedRecord], *, space: str = ""
    ) -> None:
        """Note what cannot be embedded; the same record again counts up.

        Args:
            pipeline: Whose record it is.
            run: The run that met it.
            records: What cannot be embedded, each with its reason.
            space: The space that a provider would not put the text into.
        """
        seen = now()
        named = [(_name(pipeline, record), record) for record in records]
        tried = self._tried([name for name, record in named if not record.lasting])
        writes = []
        for name, record in named:
            change: dict[str, Any] = {
                "$setOnInsert": {"first_seen": seen},
                "$set": {
                    "pipeline": pipeline,
                    "id": record.id,
                    "where": record.where,
                    "reason": record.reason,
                    "excerpt": record.excerpt,
                    "text_hash": record.text_hash,
                    "space": space,
                    "last_seen": seen,
                    "run": run,
                },
                "$inc": {"count": 1},
            }
            if record.lasting:
                change["$unset"] = {"attempts": "", "again_at": ""}
            else:
                attempts = tried.get((name, record.text_hash), 0) + 1
                pause = FIRST_PAUSE * 2 ** min(attempts - 1, 16)
                change["$set"] |= {
                    "attempts": attempts,
                    "again_at": seen + min(pause, LONGEST_PAUSE),
                }
            writes.append(UpdateOne({"_id": name}, change, upsert=True))
        if writes:
            self._entries.bulk_write(writes, ordered=False)

    def _tried(self, names: Sequence[str]) -> dict[tuple[str, str], int]:
        """How often the texts of entries were refused before in a way that may not last."""
        if not names:
            return {}
        rows = self._entries.find(
            {"_id": {"$in": list(names)}, "attempts": {"$exists": True}},
            {"text_hash": 1, "attempts": 1},
        )
        return {(row["_id"], row["text_hash"]): row["attempts"] for row in rows}

    def refused_texts(self, space: str, text_hashes: Sequence[str]) -> set[str]:
        """Texts that the space's provider has refused: asking again would cost and not help.

        Those whose refusal may not last are left out when their pause is over.
        """
        held = self._entries.find(
            {
                "space": space,
                "text_hash": {"$in": list(text_hashes)},
                # An entry without the field is compared with nothing: it lasts.
                "$nor": [{"again_at": {"$lte": now()}}],
            },
            {"text_hash": 1},
        )
        return {entry["text_hash"] for entry in held}

    def hold(self, pipeline: str, run: str, space: str, text_hashes: Sequence[str]) -> None:
        """Keep refused texts that the source still has in quarantine."""
        self._entries.update_many(
            {"pipeline": pipeline, "space": space, "text_hash": {"$in": list(text_hashes)}},
            {"$set": {"run": run, "last_seen": now()}},
        )

    def release_healed(self, pipeline: str, run: str) -> int:
        """Drop entries that a complete scan of the source by `run` did not meet again."""
        return self._entries.delete_many({"pipeline": pipeline, "run": {"$ne": run}}).deleted_count

    def heal(self, pipeline: str, space: str, text_hashes: Sequence[str]) -> int:
        """Drop entries of texts that have a vector now."""
        if not text_hashes:
            return 0
        healed = {
            "pipeline": pipeline,
            "space": {"$in": [space, ""]},  # empty where a retry was asked for
            "text_hash": {"$in": list(text_hashes)},
        }
        return self._entries.delete_many(healed).deleted_count

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

    def count(self, pipeline: str) -> int:
        return self._entries.count_documents({"pipeline": pipeline})

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


def _name(pipeline: str, record: RejectedRecord) -> str:
    # A record without an id is known by its place.
    key = encode(record.id) if record.id is not None else record.where
    return hashlib.sha256(f"{pipeline}\0{key}".encode()).hexdigest()[:32]
