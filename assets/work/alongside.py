"""The live spaces of a pipeline beside one another: how far each is behind the one that serves."""

from dataclasses import dataclass

from pymongo.errors import ExecutionTimeout

from assets.work.changing.behind import behind
from assets.work.opened import Opened
from resources.core.store_key import StoreKey
from resources.registry.pipeline_spaces import SpaceEntry, State, placed

SECONDS = 20
"""That counting may take; a look into every document of millions takes longer."""


@dataclass(frozen=True)
class Alongside:
    """One live space of a pipeline.

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


def alongside(o: Opened) -> list[Alongside]:
    """Every live space of the pipeline, the serving one first.

    Each other one is compared with it by the server, once for every change of either.
    """
    record, base = o.record, o.settings
    found = []
    for entry in record.entries():
        if entry.retired:
            continue
        count, why = _behind(o, entry)
        path = entry.path(base.vector_store.path)
        index = placed(base.search_index.name, entry.place)
        found.append(Alongside(entry, record.state(entry.space_id), path, index, count, why))
    return sorted(found, key=lambda each: (each.state != "serving", each.entry.space_id))


def _behind(o: Opened, entry: SpaceEntry) -> tuple[int | None, str]:
    serving = o.record.entry(o.record.serving)
    if serving is None:
        return None, "no space serves yet"
    if entry.space_id == serving.space_id:
        return 0, ""
    # Before the vectors are looked at: what changes meanwhile is another revision.
    of = "/".join(_revision(o, each) for each in (serving, entry))
    if entry.behind is not None and entry.behind_of == of:
        return entry.behind, ""
    try:
        found = behind(o.lying(entry), o.lying(serving), seconds=SECONDS)
    except ExecutionTimeout:
        return None, f"to count takes longer than {SECONDS} s"
    if found is None:
        return None, "its documents are cut in another way: chunks cannot be compared one by one"
    count = found.missing + found.changed
    o.registry.of_pipelines.note(o.record, entry.space_id, behind=count, behind_of=of)
    return count, ""


def _revision(o: Opened, entry: SpaceEntry) -> str:
    """Another one after every change of a space's vectors."""
    base = o.base_key
    known = o.registry.stores.get(StoreKey(base.database, base.collection, entry.path(base.path)))
    return (known.revision if known else None) or "none"
