"""What cannot be embedded, and why: kept until it heals.

An entry is of one pipeline and one space, by its field `lane`. Those from before there were lanes
have none: they are of whichever lane of the pipeline meets them first, except where they tell of
the refusals of another space.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from pymongo import UpdateOne
from pymongo.collection import Collection

from resources.core import chunk_ids
from resources.core.chunks import Chunk
from resources.core.keys import candidates, key
from resources.core.lane import Lane
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
    """One entry of the quarantine.

    Attributes:
        space: Id of the space that it could not be embedded for; empty for an entry from before
            a pipeline could have several.
    """

    id: Any
    where: str
    reason: str
    excerpt: str
    count: int
    first_seen: datetime
    last_seen: datetime
    space: str = ""


@dataclass(frozen=True)
class Documents:
    """Some documents of the source.

    Attributes:
        ids: Theirs.
        cut: Their chunks have ids of their own.
    """

    ids: Sequence[Any]
    cut: bool


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
        lane: Lane,
        run: str,
        records: Iterable[RejectedRecord],
        *,
        scope: str = "",
        stage: Stage = "source",
    ) -> None:
        """Note what cannot be embedded; the same record again counts up.

        Args:
            lane: Whose record it is.
            run: The run that met it.
            records: What cannot be embedded, each with its reason.
            scope: What a provider's refusal of the text holds for, its `refusal_scope`.
            stage: Who refuses: the source's reading and comparing, a provider, or MongoDB.
        """
        seen, records = now(), list(records)
        places = [(record.id, record.where) for record in records]
        names = self._names(lane, scope, places, apart=stage == "source")
        named = list(zip(names, records, strict=True))
        tried = self._tried([name for name, record in named if not record.lasting])
        writes = []
        for name, record in named:
            change: dict[str, Any] = {
                "$setOnInsert": {"first_seen": seen},
                "$set": {
                    "pipeline": lane.pipeline,
                    "lane": lane.space_id,
                    "id": record.id,
                    "where": record.where,
                    "reason": record.reason,
                    "excerpt": record.excerpt,
                    "text_hash": record.text_hash,
                    "space": scope,
                    "stage": stage,
                    "last_seen": seen,
                    "run": run,
                    **({} if record.slot is None else {"slot": record.slot}),
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

    def _names(
        self, lane: Lane, scope: str, places: Sequence[tuple[Any, str]], *, apart: bool = False
    ) -> list[str]:
        """The `_id` of each entry, by the record's id and place: as it is there, or will be.

        Of an id that stands twice one record may be set aside by us, and the other refused by the
        provider, whose word must not be lost: it would be asked for again. So both are kept.
        """
        if not places:
            return []
        # By those names there may be entries of either kind, from before they were told apart.
        plain = [
            (_name(lane.pipeline, None, *place), _name(lane.pipeline, lane.space_id, *place))
            for place in places
        ]
        known = {"_id": {"$in": [name for both in plain for name in both]}, **_of(lane, scope)}
        known["stage"] = "source" if apart else {"$ne": "source"}
        there = {row["_id"] for row in self._entries.find(known, {"_id": 1})}
        return [
            next((name for name in both if name in there), None)
            or _name(lane.pipeline, lane.space_id, *place, apart=apart)
            for both, place in zip(plain, places, strict=True)
        ]

    def _tried(self, names: Sequence[str]) -> dict[tuple[str, str], int]:
        """How often the texts of entries were refused before in a way that may not last."""
        if not names:
            return {}
        rows = self._entries.find(
            {"_id": {"$in": list(names)}, "attempts": {"$exists": True}},
            {"text_hash": 1, "attempts": 1},
        )
        return {(row["_id"], row["text_hash"]): row["attempts"] for row in rows}

    def refused_texts(self, scope: str, text_hashes: Sequence[str]) -> set[str]:
        """Texts that a provider with this scope has refused: asking again would cost and not help.

        Those whose refusal may not last are left out when their pause is over.
        """
        held = self._entries.find(
            {
                "space": scope,
                "text_hash": {"$in": list(text_hashes)},
                # An entry without the field is compared with nothing: it lasts.
                "$nor": [{"again_at": {"$lte": now()}}],
            },
            {"text_hash": 1},
        )
        return {entry["text_hash"] for entry in held}

    def hold(
        self, lane: Lane, run: str, chunks: Sequence[Chunk], scope: str | None = None
    ) -> set[str]:
        """Keep chunks in quarantine whose text is refused, each with an entry of its own.

        The refusal may have been met by another chunk with the same text, or another pipeline.

        Args:
            lane: Whose chunks they are.
            run: The run that met them.
            chunks: Of the source.
            scope: Where their texts are refused; None for wherever this lane met it.

        Returns:
            Those of the chunks' texts, by hash, that are refused for good.
        """
        texts = {"$in": [chunk.text_hash for chunk in chunks]}
        where = {"space": scope} if scope is not None else _of(lane)
        # Of several the latest: an older one may be of another space, or wait to be asked again.
        rows = self._entries.find({"text_hash": texts, **where}).sort("last_seen", 1)
        known = {row["text_hash"]: row for row in rows}
        seen, writes = now(), []
        # Where an entry was dropped since, the next run asks again.
        chunks = [chunk for chunk in chunks if chunk.text_hash in known]
        names = self._names(lane, scope or "", [(chunk.id, "") for chunk in chunks])
        for name, chunk in zip(names, chunks, strict=True):
            row = known[chunk.text_hash]
            kept = ("where", "reason", "text_hash", "space")
            pause = ("attempts", "again_at")
            values = {field: row[field] for field in (*kept, *pause) if field in row}
            values |= {"pipeline": lane.pipeline, "lane": lane.space_id}
            values |= {"id": chunk.id, "stage": "provider"}
            values |= {"excerpt": chunk.text[:EXCERPT_LENGTH], "run": run, "last_seen": seen}
            first = {"first_seen": seen, "count": 1}
            change = {"$set": values, "$setOnInsert": first}
            if gone := [field for field in pause if field not in row]:
                change["$unset"] = dict.fromkeys(gone, "")
            writes.append(UpdateOne({"_id": name}, change, upsert=True))
        if writes:
            self._entries.bulk_write(writes, ordered=False)
        return {text for text, row in known.items() if "again_at" not in row}

    def release_healed(
        self, lane: Lane, run: str, scope: str = "", *, of: Documents | None = None
    ) -> int:
        """Drop entries that a complete scan of the source by `run` did not meet again.

        Those of MongoDB stay until the run has tried to write them: see `release_stored`.

        Args:
            lane: Whose entries.
            run: That has read the source.
            scope: What the provider's refusals hold for, where entries tell of nothing else.
            of: Only those of these source documents, which alone were read.
        """
        gone = {**_of(lane, scope), "run": {"$ne": run}, "stage": {"$ne": "store"}}
        return self._release(gone, of)

    def release_stored(
        self, lane: Lane, run: str, shards: int = 1, *, of: Documents | None = None
    ) -> int:
        """Drop entries of MongoDB that a run which has written everything did not meet again.

        Of a shard, its own: those whose slot tells it, and which tell none are the first shard's.

        Args:
            lane: Whose entries.
            run: That has written.
            shards: How many there are.
            of: Only those of these source documents, which alone were read.
        """
        gone: dict[str, Any] = {**_of(lane), "run": {"$ne": run}, "stage": "store"}
        if lane.shard is not None:
            own = [{"slot": {"$mod": [shards, lane.shard]}}]
            own += [{"slot": None}] if lane.shard == 0 else []
            gone = {"$and": [gone, {"$or": own}]}
        return self._release(gone, of)

    def _release(self, gone: Mapping[str, Any], of: Documents | None) -> int:
        if of is None:
            return self._entries.delete_many(gone).deleted_count
        names = self._of_documents(gone, of)
        found = (
            self._entries.delete_many({**gone, "_id": {"$in": part}})
            for part in windows(names, _TEXTS)
        )
        return sum(each.deleted_count for each in found)

    def count_of(self, lane: Lane, documents: Documents, *stages: Stage) -> int:
        """Entries of a lane that are of some source documents, or of chunks of theirs."""
        wanted = {**_of(lane), "stage": {"$in": list(stages)}}
        return sum(1 for _ in self._of_documents(wanted, documents))

    def _of_documents(self, wanted: Mapping[str, Any], documents: Documents) -> Iterator[str]:
        """Names of entries; an entry of a chunk has no more of its document than the chunk's id."""
        whole = {key(each) for each in documents.ids}
        cut = set(map(chunk_ids.start, documents.ids)) if documents.cut else set()
        for row in self._entries.find(wanted, {"id": 1}):
            found = row["id"]
            if found is not None and (key(found) in whole or chunk_ids.start_of(found) in cut):
                yield row["_id"]

    def heal(self, lane: Lane, scope: str, text_hashes: Sequence[str]) -> int:
        """Drop entries of texts that have a vector now."""
        if not text_hashes:
            return 0
        healed = {
            **_of(lane, scope),
            "space": {"$in": [scope, ""]},  # empty where a retry was asked for
            "text_hash": {"$in": list(text_hashes)},
        }
        return self._entries.delete_many(healed).deleted_count

    def entries(self, whose: Lane | str, limit: int = 0, *, reason: str = "") -> list[Quarantined]:
        """The entries of a lane, or of a pipeline, the oldest first.

        Args:
            whose: Which.
            limit: So many at most; 0 for all.
            reason: Only those whose reason has this in it, in capitals or not.
        """
        wanted = {**_of(whose), **_because(reason)}
        cursor = self._entries.find(wanted).sort("first_seen", 1).limit(limit)
        return [
            Quarantined(
                entry.get("id"),
                entry["where"],
                entry["reason"],
                entry["excerpt"],
                entry["count"],
                entry["first_seen"],
                entry["last_seen"],
                entry.get("lane") or "",
            )
            for entry in cursor
        ]

    def holding(self, lane: Lane, ids: Sequence[Any]) -> set[str]:
        """Which of these ids an entry is of, by key."""
        wanted = {**_of(lane), "id": {"$in": list(ids)}}
        return {key(entry["id"]) for entry in self._entries.find(wanted, {"id": 1})}

    def count(
        self,
        whose: Lane | str,
        *stages: Stage,
        reason: str = "",
        runs: Sequence[str] | None = None,
    ) -> int:
        """Entries of a lane, or of a pipeline.

        Args:
            whose: Lane or pipeline.
            stages: Who refused; whoever by default.
            reason: A part of the reason, in any case.
            runs: Only those that one of these runs met.
        """
        wanted: dict[str, Any] = {"stage": {"$in": list(stages)}} if stages else {}
        if runs is not None:
            wanted["run"] = {"$in": list(runs)}
        return self._entries.count_documents({**_of(whose), **wanted, **_because(reason)})

    def due(self, whose: Lane | str) -> int:
        """Entries of a lane, or a pipeline, whose texts the next run asks for again."""
        asked = {"stage": "provider", "space": {"$in": ["", None]}}
        again = {"$or": [asked, {"again_at": {"$lte": now()}}]}
        return self._entries.count_documents({"$and": [_of(whose), again]})

    def reasons(self, whose: Lane | str) -> dict[str, int]:
        """How many entries there are of each reason, the most frequent first."""
        groups = self._entries.aggregate(
            [{"$match": _of(whose)}, {"$group": {"_id": "$reason", "entries": {"$sum": 1}}}]
        )
        found = {group["_id"]: group["entries"] for group in groups}
        return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))

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

    def forget(self, lane: Lane) -> int:
        """Remove what stands here of a lane that nobody works on any more; returns how many."""
        own = {"pipeline": lane.pipeline, "lane": lane.space_id}
        return self._entries.delete_many(own).deleted_count

    def _ask_again(self, chosen: dict[str, Any]) -> None:
        """Let go of the refusals of some entries' texts, whichever entries they stand in."""
        refused = self._entries.find(
            {**chosen, "space": {"$nin": ["", None]}}, {"space": 1, "text_hash": 1}
        )
        for rows in windows(refused, _TEXTS):
            texts: dict[str, list[str]] = {}
            for row in rows:
                texts.setdefault(row["space"], []).append(row["text_hash"])
            for scope, hashes in texts.items():
                same = {"space": scope, "text_hash": {"$in": hashes}}
                self._entries.update_many(same, {"$set": {"space": ""}})

    def find(self, pipeline: str, text: str) -> dict[str, Any]:
        """Entries that somebody may mean: by id, see `keys.candidates`, or by the place.

        Returns:
            Their names, each with the id, or the place of a record that has none.
        """
        places = [*((value, "") for value in candidates(text)), (None, text)]
        spaces = {None, *self._entries.distinct("lane", {"pipeline": pipeline})}
        wanted = [
            _name(pipeline, space, *place, apart=apart)
            for space in spaces
            for place in places
            for apart in (False, True)
        ]
        found = self._entries.find({"_id": {"$in": wanted}}, {"id": 1, "where": 1})
        return {row["_id"]: row["where"] if row["id"] is None else row["id"] for row in found}


def _of(whose: Lane | str, scope: str = "") -> dict[str, Any]:
    """Finds the entries of a lane, or of all lanes of a pipeline."""
    if isinstance(whose, str):
        return {"pipeline": whose}
    # A scope begins with the id of its space, by whichever name the provider knows that.
    spaces = {whose.space_id, scope.partition(" ")[0]} - {""}
    refused = f"^({'|'.join(map(re.escape, sorted(spaces)))}) "
    mine = [
        {"lane": whose.space_id},
        {"lane": None, "space": {"$in": ["", None]}},
        {"lane": None, "space": {"$regex": refused}},
    ]
    return {"pipeline": whose.pipeline, "$or": mine}


def _because(reason: str) -> dict[str, Any]:
    return {"reason": {"$regex": re.escape(reason), "$options": "i"}} if reason else {}


def _name(
    pipeline: str, space_id: str | None, record_id: Any, where: str, *, apart: bool = False
) -> str:
    """Names an entry; without a space as it was before there were lanes.

    Args:
        pipeline: Whose entry it is.
        space_id: Of its lane.
        record_id: Of the record, if it has one.
        where: Its place.
        apart: Of what the source's reading sets aside, not of what is refused later.
    """
    # A record without an id is known by its place.
    name = key(record_id) if record_id is not None else where
    parts = (pipeline, name) if space_id is None else (pipeline, space_id, name)
    if apart and record_id is not None:
        parts = (*parts, "source")
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _chosen(pipeline: str, names: Sequence[str] | None) -> dict[str, Any]:
    chosen = {} if names is None else {"_id": {"$in": list(names)}}
    return {"pipeline": pipeline, **chosen}
