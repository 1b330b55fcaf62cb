"""What cannot be embedded, and why: kept until it heals."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pymongo import UpdateOne
from pymongo.collection import Collection

from resources.core.chunks import Chunk
from resources.core.keys import candidates, key
from resources.core.moment import now
from resources.core.windows import windows
from resources.sources.records import EXCERPT_LENGTH, RejectedRecord

FIRST_PAUSE = timedelta(minutes=10)
"""Until a text is asked for again whose refusal may not last; doubled each time it is refused."""
LONGEST_PAUSE = timedelta(days=1)

_TEXTS = 1_000
"""Texts named by one command."""

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
        named = [(_name(pipeline, record.id, record.where), record) for record in records]
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
                    "stage": stage,
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

    def hold(
        self, pipeline: str, run: str, chunks: Sequence[Chunk], space: str | None = None
    ) -> set[str]:
        """Keep chunks in quarantine whose text is refused, each with an entry of its own.

        The refusal may have been met by another chunk with the same text, or another pipeline.

        Args:
            pipeline: Whose chunks they are.
            run: The run that met them.
            chunks: Of the source.
            space: Where their texts are refused; None for wherever this pipeline met it.

        Returns:
            Those of the chunks' texts, by hash, that are refused for good.
        """
        texts = {"$in": [chunk.text_hash for chunk in chunks]}
        where = {"space": space} if space is not None else {"pipeline": pipeline}
        # Of several the latest: an older one may be of another space, or wait to be asked again.
        rows = self._entries.find({"text_hash": texts, **where}).sort("last_seen", 1)
        known = {row["text_hash"]: row for row in rows}
        seen, writes = now(), []
        for chunk in chunks:
            row = known.get(chunk.text_hash)
            if row is None:
                continue  # dropped since: the next run asks again
            kept = ("where", "reason", "text_hash", "space")
            pause = ("attempts", "again_at")
            values = {name: row[name] for name in (*kept, *pause) if name in row}
            values |= {"pipeline": pipeline, "id": chunk.id, "stage": "provider"}
            values |= {"excerpt": chunk.text[:EXCERPT_LENGTH], "run": run, "last_seen": seen}
            first = {"first_seen": seen, "count": 1}
            name = _name(pipeline, chunk.id, "")
            change = {"$set": values, "$setOnInsert": first}
            if gone := [name for name in pause if name not in row]:
                change["$unset"] = dict.fromkeys(gone, "")
            writes.append(UpdateOne({"_id": name}, change, upsert=True))
        if writes:
            self._entries.bulk_write(writes, ordered=False)
        return {text for text, row in known.items() if "again_at" not in row}

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

    def count(self, pipeline: str, *stages: Stage) -> int:
        """Entries of a pipeline: all, or those of some stages."""
        wanted = {"stage": {"$in": list(stages)}} if stages else {}
        return self._entries.count_documents({"pipeline": pipeline, **wanted})

    def retry(self, pipeline: str, names: Sequence[str] | None = None) -> int:
        """Let the next run ask the provider again for texts that it has refused.

        A text is asked for once for all chunks that hold it, so it is so for all of them.

        Args:
            pipeline: Whose entries.
            names: As `find` gives them; None for all.

        Returns:
            How many were chosen. They stay until a run finds them healed.
        """
        chosen = _chosen(pipeline, names)
        self._ask_again(chosen)
        return self._entries.count_documents(chosen)

    def drop(self, pipeline: str, names: Sequence[str] | None = None) -> int:
        """Forget entries; the next run asks again, and what is still wrong comes back."""
        chosen = _chosen(pipeline, names)
        # Else the entries of other chunks with the same text would bring these back unasked.
        self._ask_again(chosen)
        return self._entries.delete_many(chosen).deleted_count

    def _ask_again(self, chosen: dict[str, Any]) -> None:
        """Let go of the refusals of some entries' texts, whichever entries they stand in."""
        refused = self._entries.find(
            {**chosen, "space": {"$nin": ["", None]}}, {"space": 1, "text_hash": 1}
        )
        for rows in windows(refused, _TEXTS):
            texts: dict[str, list[str]] = {}
            for row in rows:
                texts.setdefault(row["space"], []).append(row["text_hash"])
            for space, hashes in texts.items():
                same = {"space": space, "text_hash": {"$in": hashes}}
                self._entries.update_many(same, {"$set": {"space": ""}})

    def find(self, pipeline: str, text: str) -> dict[str, Any]:
        """Entries that somebody may mean: by id, see `keys.candidates`, or by the place.

        Returns:
            Their names, each with the id, or the place of a record that has none.
        """
        wanted = [_name(pipeline, value, "") for value in candidates(text)]
        wanted.append(_name(pipeline, None, text))
        found = self._entries.find({"_id": {"$in": wanted}}, {"id": 1, "where": 1})
        return {row["_id"]: row["where"] if row["id"] is None else row["id"] for row in found}


def _name(pipeline: str, record_id: Any, where: str) -> str:
    # A record without an id is known by its place.
    name = key(record_id) if record_id is not None else where
    return hashlib.sha256(f"{pipeline}\0{name}".encode()).hexdigest()[:32]


def _chosen(pipeline: str, names: Sequence[str] | None) -> dict[str, Any]:
    chosen = {} if names is None else {"_id": {"$in": list(names)}}
    return {"pipeline": pipeline, **chosen}
