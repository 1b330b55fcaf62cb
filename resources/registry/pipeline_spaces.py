"""The spaces of each pipeline, and which of them serves: `pipeline_spaces`.

One document for each pipeline and store says it all, and every change of it is a compare-and-set on
its `version`: of two changes at once one is made, and who made the other is told. What a change was
is in the document with it, and then in `pipeline_space_history`, which only grows; whoever reads
the history first writes down what a process that died in between has not.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from resources.core.moment import now
from resources.core.store_key import StoreKey, placed

State = Literal["building", "ready", "serving", "previous", "retired"]
Event = Literal["first", "built", "promoted", "rolled back", "retired"]
FLIPS = ("first", "promoted", "rolled back")
"""Events after which another space serves."""


@dataclass(frozen=True)
class SpaceEntry:
    """One space of a pipeline.

    Attributes:
        space_id: Its id.
        place: What its path and its index's name have more than the settings say; empty for the
            first space of the pipeline.
        embedder: How to embed a query there, and documents: the provider as a YAML writes it, with
            the names of variables; None where an earlier version has not noted it.
        chunking: Likewise, how documents are cut.
        apart: Its chunks are documents of their own, as another chunker has cut them.
        models: That made its vectors, where models of one family share the space.
        built: When it was complete for the first time.
        since: When it came to the state it is in.
        run: That worked on it last.
        vectors: Stored when that had ended; `bytes` of them, without an index.
        chunks: Of the source then.
        missing: Chunks that have no vector and stand in no quarantine.
        complete_at: When a run has last found it complete.
        behind: Chunks of the serving space of which the vector was missing here, or of another
            text, when that was counted last; `behind_of`: of which revisions of both stores.
        gate: What the gate said last, in a sentence; empty before it has judged.
        retired: Its vectors and its index are gone, or go.
        cleared: When they were gone; what it was stays noted.
    """

    space_id: str
    place: str = ""
    embedder: Mapping[str, Any] | None = None
    chunking: Mapping[str, Any] | None = None
    apart: bool = False
    models: Sequence[str] = ()
    built: datetime | None = None
    since: datetime | None = None
    run: str = ""
    vectors: int = 0
    bytes: int = 0
    chunks: int = 0
    missing: int = 0
    quarantined: int = 0
    complete_at: datetime | None = None
    behind: int | None = None
    behind_of: str = ""
    gate: str = ""
    retired: bool = False
    cleared: datetime | None = None

    def path(self, base: str) -> str:
        """Where its vectors lie, where the settings' path is `base`."""
        return placed(base, self.place)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "SpaceEntry":
        return cls(
            **{each.name: document[each.name] for each in fields(cls) if each.name in document}
        )


@dataclass(frozen=True)
class Change:
    """One change of what a pipeline has: never forgotten.

    Attributes:
        by: Who asked for it: a user, or a run.
        why: In their words, or how the gate judged.
    """

    event: Event
    space_id: str
    before: str | None = None
    by: str = ""
    why: str = ""
    run: str = ""
    at: datetime | None = None
    pipeline: str = ""
    store: str = ""


@dataclass(frozen=True)
class PipelineRecord:
    """The spaces of one pipeline over one store, as they were at one moment.

    Attributes:
        store: Where the first space lies.
        serving: Id of the space that searches go by; None before the first is complete.
        previous: Of the one before it, to which there is a way back.
        version: Another one after every change.
    """

    pipeline: str
    store: StoreKey
    serving: str | None = None
    previous: str | None = None
    version: int = 0
    spaces: Mapping[str, SpaceEntry] | None = None

    def entry(self, space_id: str | None) -> SpaceEntry | None:
        return (self.spaces or {}).get(space_id or "")

    def state(self, space_id: str) -> State:
        entry = self.entry(space_id)
        if entry is None or entry.retired:
            return "retired"
        if space_id == self.serving:
            return "serving"
        if space_id == self.previous:
            return "previous"
        return "ready" if entry.built and not entry.missing else "building"

    def entries(self) -> Iterator[SpaceEntry]:
        yield from (self.spaces or {}).values()

    def others_at(self, entry: SpaceEntry) -> list[str]:
        """Other spaces where this one is: one replaces the other's vectors."""
        there = (e for e in self.entries() if e.place == entry.place and not e.retired)
        return [e.space_id for e in there if e.space_id != entry.space_id]

    def at(self, place: str) -> SpaceEntry | None:
        """The space that is there now."""
        return next((e for e in self.entries() if e.place == place and not e.retired), None)

    def occupied(self, place: str) -> bool:
        """Whether a space is there, or what is left of one that is retired and not yet gone."""
        return any(e.place == place and not (e.retired and e.cleared) for e in self.entries())

    def left(self, wanted: Collection[str]) -> SpaceEntry | None:
        """A space of these ids that is retired and not yet gone, and whose place is its own."""
        found = (self.entry(name) for name in sorted(wanted))
        gone = (e for e in found if e and e.retired and not e.cleared)
        return next((e for e in gone if self.at(e.place) is None), None)


class PipelineSpaces:
    """All of a deployment."""

    def __init__(self, database: Database) -> None:
        # Moments here are told to people, and compared with now.
        aware = database.codec_options.with_options(tz_aware=True)
        self._records = database.get_collection("pipeline_spaces", codec_options=aware)
        self._history = database.get_collection("pipeline_space_history", codec_options=aware)

    def get(self, pipeline: str, store: StoreKey) -> PipelineRecord:
        """What is known; nothing before the first run."""
        document = self._records.find_one({"_id": _id(pipeline, store)})
        return _record(document) if document else PipelineRecord(pipeline, store)

    def all(self, pipeline: str | None = None) -> list[PipelineRecord]:
        """Of one pipeline, over whichever store, or of all."""
        wanted = {} if pipeline is None else {"pipeline": pipeline}
        return [_record(document) for document in self._records.find(wanted).sort("_id", 1)]

    def enter(
        self, pipeline: str, store: StoreKey, entry: SpaceEntry, *, place: str | None = None
    ) -> SpaceEntry:
        """Note that a space is to be built, or how it is embedded now.

        Args:
            pipeline: Whose.
            store: Where its first space lies.
            entry: How it is embedded and cut; its place is given here, once and for all.
            place: To be there, whatever was there before; else beside what is there already.

        Returns:
            The entry as it is noted.
        """
        while True:
            record = self.get(pipeline, store)
            known = record.entry(entry.space_id)
            names = ("embedder", "chunking", "apart", "run")
            how: dict[str, Any] = {name: getattr(entry, name) for name in names}
            if known is not None and not known.retired and place in (None, known.place):
                found = replace(known, **how)
                if found == known or self._set(record, {f"spaces.{known.space_id}": asdict(found)}):
                    return found
                continue
            at = place
            if at is None:
                free = record.serving is None or not record.occupied("")
                at = "" if free else entry.space_id
            values: dict[str, Any] = {}
            found = replace(
                entry, place=at, since=now(), retired=False, built=None, cleared=None, gate=""
            )
            values[f"spaces.{entry.space_id}"] = asdict(found)
            there = record.at(at)
            if there is not None and record.serving is None:
                # It never served, and what there is of it is replaced.
                values[f"spaces.{there.space_id}.retired"] = True
                values[f"spaces.{there.space_id}.cleared"] = now()
            if self._set(record, values):
                return found

    def note(self, record: PipelineRecord, space_id: str, **values: Any) -> None:
        """What the latest run found of a space: `vectors`, `chunks`, `missing`, …"""
        names = {f"spaces.{space_id}.{name}": value for name, value in values.items()}
        self._records.update_one({"_id": _id(record.pipeline, record.store)}, {"$set": names})

    def change(
        self, record: PipelineRecord, change: Change, values: Mapping[str, Any]
    ) -> PipelineRecord | None:
        """Make a change of what the record is, and remember it for ever.

        Args:
            record: As it was read.
            change: What is done, by whom and why.
            values: To be set, by their paths in the document, such as `serving`.

        Returns:
            The record as it is then; None where somebody else has changed it meanwhile.
        """
        told = replace(change, at=now(), pipeline=record.pipeline, store=str(record.store))
        if not self._set(record, {**values, "last": asdict(told)}):
            return None
        found = self.get(record.pipeline, record.store)
        self._remember(record, record.version + 1, asdict(told))
        return found

    def serve(self, record: PipelineRecord, change: Change, **values: Any) -> PipelineRecord | None:
        """Let a space serve, and the one that did be the previous one: see `change`."""
        when = now()
        changed: dict[str, Any] = {"serving": change.space_id, "previous": record.serving}
        changed[f"spaces.{change.space_id}.since"] = when
        if record.serving:
            changed[f"spaces.{record.serving}.since"] = when
        return self.change(record, replace(change, before=record.serving), {**changed, **values})

    def last_flip(self, record: PipelineRecord) -> Change | None:
        """The latest change of which space serves."""
        of = (each for each in self.history(record.pipeline) if each.store == str(record.store))
        return next((each for each in reversed(list(of)) if each.event in FLIPS), None)

    def history(self, pipeline: str | None = None) -> list[Change]:
        """All changes, the oldest first."""
        wanted = {} if pipeline is None else {"pipeline": pipeline}
        for document in self._records.find({**wanted, "last": {"$exists": True}}):
            self._remember(_record(document), document["last_version"], document["last"])
        names = [each.name for each in fields(Change)]
        found = self._history.find(wanted).sort([("at", 1), ("_id", 1)])
        return [Change(**{name: row[name] for name in names if name in row}) for row in found]

    def _remember(self, record: PipelineRecord, version: int, told: Mapping[str, Any]) -> None:
        name = f"{_id(record.pipeline, record.store)}#{version:09d}"
        self._history.update_one({"_id": name}, {"$setOnInsert": dict(told)}, upsert=True)

    def _set(self, record: PipelineRecord, values: Mapping[str, Any]) -> bool:
        name = _id(record.pipeline, record.store)
        if record.version and "last" in values:
            # What another has changed before, and has not come to write down.
            before = self._records.find_one({"_id": name}, {"last": 1, "last_version": 1}) or {}
            if "last" in before:
                self._remember(record, before["last_version"], before["last"])
        version = record.version + 1
        extra = {"last_version": version} if "last" in values else {}
        who = {"pipeline": record.pipeline, "store": str(record.store)}
        change = {"$set": {**who, **values, **extra, "version": version}}
        try:
            found = self._records.update_one(
                {"_id": name, "version": record.version} if record.version else
                {"_id": name, "version": {"$exists": False}},
                change,
                upsert=not record.version,
            )  # fmt: skip
        except DuplicateKeyError:
            return False
        return bool(found.matched_count or found.upserted_id is not None)


def _id(pipeline: str, store: StoreKey) -> str:
    return f"{pipeline}|{store}"


def _record(document: Mapping[str, Any]) -> PipelineRecord:
    entries: Sequence[SpaceEntry] = [SpaceEntry.of(e) for e in document.get("spaces", {}).values()]
    return PipelineRecord(
        document["pipeline"],
        StoreKey.parse(document["store"]),
        document.get("serving"),
        document.get("previous"),
        document["version"],
        {entry.space_id: entry for entry in entries},
    )
