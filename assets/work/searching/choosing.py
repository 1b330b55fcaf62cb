"""Which of a pipeline's spaces is asked, where somebody names one."""

from dataclasses import dataclass

from assets.work.opened import Opened
from resources.core.errors import QueryRefused
from resources.registry.pipeline_spaces import PipelineRecord, SpaceEntry


@dataclass(frozen=True)
class SpaceAsked:
    """A space that can be asked.

    Attributes:
        state: `serving`, `previous`, `ready` or `building`.
        vectors: Stored when the last run had ended.
        incomplete: How far it is; empty where it is complete.
    """

    id: str
    state: str
    model: str
    dimensions: int | None
    vectors: int
    incomplete: str


def chosen(record: PipelineRecord, beginning: str) -> SpaceEntry:
    """The space whose id begins so.

    Raises:
        QueryRefused: There is none, or several, or its vectors are gone.
    """
    found = [entry for entry in record.entries() if entry.space_id.startswith(beginning)]
    there = [entry for entry in found if not entry.retired]
    exact = [entry for entry in found if entry.space_id == beginning]
    if any(entry.retired for entry in exact) or (found and not there):
        raise retired(record, (exact or found)[0].space_id)
    if not there:
        raise QueryRefused(
            f"{record.pipeline} has no space whose id begins with {beginning!r}; {listed(record)}"
        )
    if len(there) > 1 and not exact:
        names = " and ".join(sorted(entry.space_id for entry in there))
        raise QueryRefused(
            f"the ids of several spaces of {record.pipeline} begin with {beginning!r}: {names}; "
            "give more of the one that is meant"
        )
    return (exact or there)[0]


def retired(record: PipelineRecord, space_id: str) -> QueryRefused:
    """What is said to who asks for a space that is gone."""
    return QueryRefused(
        f"the space {space_id} of {record.pipeline} is retired, its vectors and its index are "
        f"gone; {listed(record)}"
    )


def listed(record: PipelineRecord) -> str:
    """Those that can be asked, for people."""
    names = (f"{each.space_id} ({record.state(each.space_id)})" for each in _there(record))
    found = ", ".join(names)
    return f"there are {found}" if found else "there is none yet"


def asked(o: Opened, record: PipelineRecord) -> list[SpaceAsked]:
    """The same for programs."""
    found = []
    for entry in _there(record):
        state, space = record.state(entry.space_id), o.registry.spaces.get(entry.space_id)
        found.append(
            SpaceAsked(
                entry.space_id,
                state,
                space.model if space else "",
                space.dimensions if space else None,
                entry.vectors,
                how_far(record, entry),
            )
        )
    return found


def _there(record: PipelineRecord) -> list[SpaceEntry]:
    """The one that serves first, then the newest."""
    there = [entry for entry in record.entries() if not entry.retired]
    there.sort(key=lambda entry: entry.space_id)
    there.sort(key=lambda entry: entry.since.timestamp() if entry.since else 0.0, reverse=True)
    return sorted(there, key=lambda entry: entry.space_id != record.serving)


def how_far(record: PipelineRecord, entry: SpaceEntry) -> str:
    """How complete a space is; empty where it is."""
    if not entry.chunks:
        building = record.state(entry.space_id) == "building"
        return "no run has come to the end of its chunks yet" if building else ""
    if not entry.missing:
        return ""
    done = max(0, entry.chunks - entry.missing - entry.quarantined)
    return f"{done:,} of {entry.chunks:,} chunks can be found there so far"


def check_given(o: Opened, record: PipelineRecord, asked: SpaceEntry) -> None:
    """Refuse an embedder that somebody has named, where it is of another space.

    Args:
        o: The pipeline as its settings have it, that embedder included.
        record: Its spaces.
        asked: The one that is to be asked.

    Raises:
        QueryRefused: It puts queries into another space.
    """
    if o.embeds(asked):
        return
    there = next((e for e in record.entries() if not e.retired and o.embeds(e)), None)
    hint = (
        f"ask that space by its id, `--space {there.space_id}` (`space=` in Python)"
        if there
        else f"build that space first, `embeddings run {o.name}` with the same `-c`, and ask it by "
        "`--space`, or leave the embedder out"
    )
    serves = ", which serves" if record.serving == asked.space_id else ""
    raise QueryRefused(
        f"the embedder given by `-c` or `overrides` puts queries into the space "
        f"{there.space_id if there else o.embedder_space.id}, and what is asked is the space "
        f"{asked.space_id} of {o.name}{serves}: {hint}"
    )
