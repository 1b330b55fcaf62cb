"""A space of a pipeline, as a person names it."""

from assets.work.opened import Opened
from resources.core.errors import SpaceError
from resources.registry.pipeline_spaces import PipelineRecord, SpaceEntry


def find(o: Opened, wanted: str) -> SpaceEntry:
    """The space with this id, or the one whose id begins so.

    Raises:
        SpaceError: There is none, or more than one.
    """
    record = o.record
    known = {entry.space_id: entry for entry in record.entries()}
    if wanted in known:
        return known[wanted]
    found = [name for name in known if wanted and name.startswith(wanted)]
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise SpaceError(
            f"{len(found)} spaces of {o.name} begin with {wanted!r}: name one of {_listed(record)}"
        )
    if not known:
        raise SpaceError(
            f"pipeline {o.name} has no space yet: `embeddings run {o.name}` builds its first"
        )
    raise SpaceError(f"pipeline {o.name} has no space {wanted!r}: it has {_listed(record)}")


def _listed(record: PipelineRecord) -> str:
    names = sorted(entry.space_id for entry in record.entries())
    return ", ".join(f"{name} ({record.state(name)})" for name in names)
