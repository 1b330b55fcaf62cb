"""How far the spaces of a pipeline that do not serve are behind the one that does."""

from dataclasses import dataclass

from pymongo.errors import ExecutionTimeout

from assets.work.opened import Opened
from resources.core.lineage import lineage_path
from resources.core.store_key import StoreKey
from resources.registry.pipeline_spaces import SpaceEntry, State, placed

SECONDS = 20
"""That counting may take; a look into every document of millions takes longer."""


@dataclass(frozen=True)
class Standing:
    """One live space of a pipeline, beside the one that serves.

    Attributes:
        path: Where its vectors lie; `index` is over them.
        behind: Chunks of the serving space of which the vector is missing here, or of another
            text; 0 of the serving space itself; None where that cannot be counted.
        why: It cannot be counted.
    """

    entry: SpaceEntry
    state: State
    path: str
    index: str
    behind: int | None
    why: str = ""


def standings(o: Opened) -> list[Standing]:
    """Every live space of the pipeline, the serving one first: what changed since is counted anew.

    One command on the server for each other space, and none where neither store has changed since
    it was counted last.
    """
    record, base = o.record, o.settings
    found = []
    for entry in record.entries():
        if entry.retired:
            continue
        behind, why = _behind(o, entry)
        path = entry.path(base.vector_store.path)
        index = placed(base.search_index.name, entry.place)
        state = record.state(entry.space_id)
        found.append(Standing(entry, state, path, index, behind, why))
    return sorted(found, key=lambda each: (each.state != "serving", each.entry.space_id))


def behind(o: Opened, entry: SpaceEntry) -> int | None:
    """Count chunks of the serving space of which another one has no vector, or of another text.

    Returns:
        None where it takes longer than `SECONDS`.
    """
    serving = o.record.entry(o.record.serving)
    assert serving is not None
    base = o.settings.vector_store
    ours, theirs = (lineage_path(each.path(base.path)) for each in (serving, entry))
    database, collection = base.namespace(o.settings.source)
    differs = {"$ne": [f"${ours}.text_hash", f"${theirs}.text_hash"]}
    wanted = {
        f"{ours}.space": serving.space_id,
        f"{ours}.pipeline": o.name,
        "$or": [{f"{theirs}.space": {"$ne": entry.space_id}}, {"$expr": differs}],
    }
    try:
        return o.client[database][collection].count_documents(wanted, maxTimeMS=SECONDS * 1_000)
    except ExecutionTimeout:
        return None


def cut_alike(one: SpaceEntry, other: SpaceEntry) -> bool:
    """Whether two spaces have the same chunks; what an earlier version has not noted is so."""
    if one.apart != other.apart:
        return False
    return None in (one.chunking, other.chunking) or one.chunking == other.chunking


def _behind(o: Opened, entry: SpaceEntry) -> tuple[int | None, str]:
    serving = o.record.entry(o.record.serving)
    if serving is None or entry.space_id == serving.space_id:
        return (0, "") if serving else (None, "no space serves yet")
    if not cut_alike(serving, entry):
        return None, "its documents are cut in another way: chunks cannot be compared one by one"
    of = "/".join(_revision(o, each) for each in (serving, entry))
    if entry.behind is not None and entry.behind_of == of:
        return entry.behind, ""
    counted = behind(o, entry)
    if counted is None:
        return None, f"to count takes longer than {SECONDS} s"
    o.registry.of_pipelines.note(o.record, entry.space_id, behind=counted, behind_of=of)
    return counted, ""


def _revision(o: Opened, entry: SpaceEntry) -> str:
    """Another one after every change of a space's vectors."""
    base = o.base_key
    known = o.registry.stores.get(StoreKey(base.database, base.collection, entry.path(base.path)))
    return (known.revision if known else None) or "none"
