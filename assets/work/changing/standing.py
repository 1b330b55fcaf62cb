"""Whether a space can be searched, and how well: what is known without asking one question."""

from collections.abc import Iterator
from dataclasses import dataclass

from assets.work.opened import Opened
from resources.core.errors import SearchIndexError, SpaceError
from resources.core.variables import unset
from resources.mongodb.lease import holder
from resources.registry.pipeline_spaces import SpaceEntry


@dataclass(frozen=True)
class Standing:
    """How a space's index stands.

    Attributes:
        stored: Vectors.
        indexed: Those of them that searches find.
        why: The cause of a difference; empty where there is none.
    """

    stored: int
    indexed: int
    why: str = ""


def check_idle(o: Opened, lane: Opened) -> None:
    """Refuse while a run works on a space.

    Raises:
        SpaceError: It does; the message names it.
    """
    who = holder(o.client, o.mongodb.registry, lane.lane, o.finished)
    if who:
        raise SpaceError(
            f"{who}: wait for it to end (`embeddings status {o.name}`), or terminate it in the "
            "Dagster UI; then ask again"
        )


def index_of(lane: Opened) -> Standing:
    """How the index of a space stands.

    Raises:
        SpaceError: There is none that serves: who searched there would be refused.
    """
    entry = lane.registry.indexes.get(lane.index_key)
    again = f"`embeddings run {lane.name}` with the settings of this space builds it"
    if entry is None or entry.space_id != lane.space.id:
        raise SpaceError(f"{lane.space.id} of {lane.name} has no index {lane.index_key}: {again}")
    try:
        seen = lane.engine.glance(None)
        if seen.why and not seen.indexed:
            raise SpaceError(f"the index of {lane.space.id} does not serve ({seen.why}): {again}")
        found = lane.engine.coverage(thorough=False)
    except SearchIndexError as error:
        raise SpaceError(f"the index of {lane.space.id} does not serve ({error}): {again}") from (
            error
        )
    return Standing(found.stored, found.indexed, found.why)


def objections(lane: Opened, entry: SpaceEntry, standing: Standing) -> Iterator[str]:
    """Why a space had better not serve, the gravest first: each a sentence with its way out."""
    name, run = entry.space_id, f"`embeddings run {lane.name}`"
    if entry.missing or not entry.built:
        of = f"{entry.missing:,} of {entry.chunks:,} chunks have" if entry.missing else "some have"
        yield (
            f"{name} of {lane.name} is not complete: {of} no vector yet, and stand in no "
            f"quarantine; {run} with the settings of this space goes on"
        )
    if standing.why:
        yield (
            f"the index of {name} finds {standing.indexed:,} of {standing.stored:,} vectors: "
            f"{standing.why}"
        )


def without_variables(lane: Opened) -> list[str]:
    """Environment variables that who embeds a query in a space needs, and that are not set."""
    return list(unset(lane.embedder))
