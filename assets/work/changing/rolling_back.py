"""`rollback`: the way back to the space that served before, at once."""

from contextlib import suppress

from pymongo.errors import ExecutionTimeout

from assets.work.changing.behind import behind
from assets.work.changing.flipping import Flipped, flip, moment
from assets.work.changing.standing import index_of, without_variables
from assets.work.opened import Opened
from resources.core.errors import EmbeddingsError, SpaceError
from resources.registry.pipeline_spaces import Change, SpaceEntry

SECONDS = 20
"""That counting may take."""


def rollback(o: Opened, *, why: str = "", by: str = "") -> Flipped:
    """Let the space serve that did before.

    Whoever needs this needs it now: nothing is measured, and a run that is going on is no reason
    to wait. How stale the space is, is counted when it serves.

    Args:
        o: The pipeline as its settings have it.
        why: In the words of who asks.
        by: Who asks.

    Raises:
        SpaceError: There is none to go back to, or its index does not serve.
    """
    entry = _previous(o)
    lane = o.lying(entry)
    standing = index_of(lane)
    before = o.record.entry(o.record.serving)
    done = flip(o, Change("rolled back", entry.space_id, by=by, why=why))
    notes = [standing.why] if standing.why else []
    found = None
    if before:
        with suppress(ExecutionTimeout):  # it serves already: what is counted is only told
            found = behind(lane, o.lying(before), seconds=SECONDS)
    if found is None:
        notes.append(
            f"how stale {entry.space_id} is cannot be counted chunk by chunk; it was complete last "
            f"at {moment(entry.complete_at or entry.built)}"
        )
    notes += _told(o, entry)
    return Flipped(o.name, o.record.serving, entry.space_id, done, behind=found, notes=tuple(notes))


def _previous(o: Opened) -> SpaceEntry:
    record = o.record
    entry = record.entry(record.previous)
    if entry is None or entry.retired:
        gone = f": {entry.space_id} is retired" if entry else ""
        raise SpaceError(
            f"{o.name} has no space to go back to{gone}; `embeddings spaces {o.name}` lists what "
            "it has, and `embeddings promote` lets another one serve"
        )
    last = o.registry.of_pipelines.last_flip(record)
    if last is not None and last.event == "rolled back":
        # Two people who are called at the same time mean the same.
        raise SpaceError(
            f"{o.name} was rolled back to {record.serving} already, by {last.by or 'somebody'} at "
            f"{moment(last.at)}: `embeddings promote {o.name} {entry.space_id}` goes forward again"
        )
    return entry


def _told(o: Opened, entry: SpaceEntry) -> list[str]:
    try:
        missing = without_variables(o.in_space(entry))
    except EmbeddingsError as error:
        return [f"how a query is embedded there cannot be had here: {error}"]
    return [f"{name} is not set here: who searches there needs it" for name in missing]
