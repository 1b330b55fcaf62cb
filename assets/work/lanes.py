"""Which spaces of a pipeline a run works on: the one that serves, and the one that is wanted."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from resources.model_change.resource import ModelChangeResource
from resources.registry.indexes import IndexEntry
from resources.registry.pipeline_spaces import PipelineRecord, SpaceEntry
from resources.registry.stores import StoreEntry


@dataclass(frozen=True)
class Lanes:
    """What a run works on.

    Attributes:
        main: The space that serves; None for the one that the settings want, which is to serve
            once it is complete, or goes where vectors are replaced.
        place: Of the main one.
        candidate: Place of the space that is wanted beside it; None where there is no such.
        refused: Why no run may work on them; who only looks, or changes which one serves, may.
    """

    main: SpaceEntry | None
    place: str = ""
    candidate: str | None = None
    refused: str = ""


def lanes(record: PipelineRecord, wanted: Collection[str], change: ModelChangeResource) -> Lanes:
    """Choose.

    Args:
        record: The spaces that there are.
        wanted: Ids by which the space that the settings name may be known.
        change: What is to be done about another one.
    """
    serving = record.entry(record.serving)
    if serving is None:
        return Lanes(None)
    if serving.space_id in wanted:
        return Lanes(None, serving.place)
    # What lies where the serving one does was begun there, to replace it.
    beside = (e for e in record.entries() if e.place != serving.place and not e.retired)
    known = next((e for e in beside if e.space_id in wanted), None)
    if change.mode == "replace":
        if known is not None:
            why = (
                f"the space {known.space_id} of {record.pipeline} lies beside the one that serves "
                f"already: let it serve (`embeddings promote {record.pipeline} {known.space_id}`), "
                f"or retire it (`embeddings retire {record.pipeline} {known.space_id}`) before "
                "`model_change: {mode: replace}` puts it in the other's place"
            )
            return Lanes(serving, serving.place, known.place, why)
        return Lanes(None, serving.place)
    if known is not None:
        return Lanes(serving, serving.place, known.place)
    # What is left of a space that is retired is in nobody's way, and goes on where it lies.
    left = record.left(wanted)
    if left is not None:
        return Lanes(serving, serving.place, left.place)
    return Lanes(serving, serving.place, _free(record, min(wanted, key=len)))


def _free(record: PipelineRecord, space_id: str) -> str:
    """A place where no space of the pipeline is: its own may be taken by one that replaced it."""
    names = ("", space_id, *(f"{space_id}-{n}" for n in range(2, len(record.spaces or {}) + 3)))
    return next(name for name in names if not record.occupied(name))


def adopted(
    record: PipelineRecord, store: StoreEntry | None, index: IndexEntry | None
) -> PipelineRecord:
    """The record of a pipeline from before there was one: what its index was built from serves."""
    if record.version or store is None or index is None or not index.space_id:
        return record
    entry = SpaceEntry(index.space_id, vectors=index.indexed)
    return replace(record, serving=entry.space_id, spaces={entry.space_id: entry})
