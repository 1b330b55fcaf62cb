"""What a run notes of the space that it works on: that it is begun, and how far it has come."""

from dataclasses import replace
from typing import Any

from assets.work.changed import documents
from assets.work.opened import Opened
from resources.core.errors import ConfigurationError
from resources.core.moment import now
from resources.embedders import members
from resources.registry.pipeline_spaces import Change, PipelineRecord, SpaceEntry

_COUNTED = ("vectors", "bytes", "chunks", "missing")

RACES = 20
"""Changes of others that a run looks at before it gives up."""


def begin(o: Opened) -> None:
    """Note the space that is about to be worked on, and how to embed there; repeating it is free.

    A space of which only the registry knows how it is embedded stays as it is noted.
    """
    spaces, record, key = o.registry.of_pipelines, o.record, o.base_key
    if not record.version and record.serving and (old := record.entry(record.serving)):
        # A pipeline from before its spaces were written down.
        noted = spaces.get(o.name, key)
        if not noted.version:
            same = o.embeds(old)
            spaces.enter(o.name, key, replace(old, **o.written()) if same else old, place="")
            told = Change("first", old.space_id, run=o.run, why="it was there already")
            known = {f"spaces.{old.space_id}.{name}": getattr(old, name) for name in _COUNTED}
            known[f"spaces.{old.space_id}.built"] = now()
            spaces.serve(spaces.get(o.name, key), told, **known)
    if o.lanes.main is not None and o.place == o.lanes.main.place:
        return
    entry = SpaceEntry(o.space.id, run=o.run, apart=bool(o.apart), **o.written())
    known = o.record.entry(entry.space_id)
    if known is None or known.retired or known.place != o.place or not _same(known, entry):
        spaces.enter(o.name, key, entry, place=o.place)


def _same(known: SpaceEntry, entry: SpaceEntry) -> bool:
    how = ("embedder", "chunking", "apart")
    return all(getattr(known, name) == getattr(entry, name) for name in how)


def complete(o: Opened, indexed: int) -> SpaceEntry:
    """Note what the space has come to; a pipeline's first one serves from now on.

    Args:
        o: In the space, whose index serves now.
        indexed: Vectors in the index.

    Returns:
        The entry as it is noted.
    """
    stored = o.store.count()
    o.registry.plans.note_done(o.lease, o.lane, "indexed", o.plan.id)
    held = o.registry.quarantine.count(o.lane, "provider", "store")
    chunks, missing = _chunks(o, stored, indexed, held)
    bytes_each = o.store.format.bytes_each(o.space.dimensions)
    found: dict[str, Any] = {
        "run": o.run,
        "vectors": stored,
        "bytes": stored * bytes_each,
        "chunks": chunks,
        "quarantined": held,
        "missing": missing,
    }
    if members.family(o.embedder):
        found["models"] = o.store.models(o.space.id)
    if not found["missing"]:
        found["complete_at"] = now()
    spaces = o.registry.of_pipelines
    for _ in range(RACES):
        record = spaces.get(o.name, o.base_key)
        entry = record.entry(o.space.id)
        if entry is None:  # its first step was of another run, before there were entries
            begin(o.again())
            continue
        spaces.note(record, entry.space_id, **found)
        if found["missing"] or _noted(o, record, entry):
            now_there = spaces.get(o.name, o.base_key).entry(entry.space_id)
            assert now_there is not None
            return now_there
    raise ConfigurationError(
        f"the spaces of {o.name} are changed by others all the time: run it again"
    )


def _chunks(o: Opened, stored: int, indexed: int, held: int) -> tuple[int, int]:
    """Chunks of the source, and how many of them have neither a vector nor a reason for none."""
    plan = o.plan
    if plan.ids is None:
        chunks = plan.counts["source"]
        return chunks, max(0, chunks - min(stored, indexed) - held)
    # Of the others all had one before.
    missing = max(0, stored - indexed) + missing_of(o)[0]
    return min(stored, indexed) + held + missing, missing


def missing_of(o: Opened) -> tuple[int, int, int]:
    """Of a plan of some records: chunks that lack a vector, that have one, and in quarantine."""
    of = documents(o, o.plan)
    assert of is not None
    there = sum(1 for _ in o.store.ids_of(of.ids))
    held = o.registry.quarantine.count_of(o.lane, of, "provider", "store")
    return max(0, o.plan.counts["source"] - there - held), there, held


def _noted(o: Opened, record: PipelineRecord, entry: SpaceEntry) -> bool:
    """Write down that it is complete, if that is new; False where others changed the record."""
    spaces, built = o.registry.of_pipelines, f"spaces.{entry.space_id}.built"
    replaced = record.others_at(entry)
    gone: dict[str, Any] = {}
    for name in replaced:  # none of its vectors is left, and its index is the other's
        gone |= {f"spaces.{name}.retired": True, f"spaces.{name}.cleared": now()}
    if record.serving is None or record.serving in replaced:
        event = "first" if record.serving is None else "promoted"
        why = "" if record.serving is None else "it has replaced the one before at its path"
        values: dict[str, Any] = {built: entry.built or now(), **gone}
        if record.serving in replaced:
            values["previous"] = record.previous  # there is no way back to what is gone
        change = Change(event, entry.space_id, run=o.run, by=f"run {o.run}", why=why)
        return spaces.serve(record, change, **values) is not None
    if replaced:
        why = f"{entry.space_id} is whole again at its path"
        change = Change("retired", replaced[0], run=o.run, by=f"run {o.run}", why=why)
        return spaces.change(record, change, gone) is not None
    if entry.built:
        return True
    change = Change("built", entry.space_id, run=o.run, by=f"run {o.run}")
    values = {built: now(), f"spaces.{entry.space_id}.since": now()}
    return spaces.change(record, change, values) is not None
