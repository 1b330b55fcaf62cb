"""`promote`: let another space serve, unless it had better not."""

from collections.abc import Sequence

from assets.work.changing.finding import find
from assets.work.changing.flipping import Flipped, flip, moment
from assets.work.changing.standing import (
    check_idle,
    index_of,
    objections,
    without_variables,
)
from assets.work.opened import Opened
from resources.core.errors import SpaceError
from resources.registry.pipeline_spaces import Change, SpaceEntry


def promote(o: Opened, wanted: str, *, force: str | None = None, by: str = "") -> Flipped:
    """Let a space serve.

    Args:
        o: The pipeline as its settings have it.
        wanted: Id of the space, or the beginning of one.
        force: Why it is to serve although something speaks against it. That is written down. What
            would be refused by every search stays refused: a space that is not there, is retired,
            has no index that serves, or is worked on now.
        by: Who asks.

    Raises:
        SpaceError: It may not serve; the message says why, and what to do.
    """
    entry = find(o, wanted)
    _check_state(o, entry)
    lane = o.lying(entry)
    check_idle(o, lane)
    against = list(objections(lane, entry, index_of(lane)))
    against += _unusable(o, entry)
    if against and force is None:
        raise SpaceError(f'{against[0]} (`--force "reason"` lets it serve all the same)')
    change = Change("promoted", entry.space_id, by=by, why=_why(force, against))
    return Flipped(o.name, o.record.serving, entry.space_id, flip(o, change), notes=tuple(against))


def _check_state(o: Opened, entry: SpaceEntry) -> None:
    name = entry.space_id
    if name == o.record.serving:
        raise SpaceError(f"{name} serves {o.name} already, since {moment(entry.since)}")
    if entry.retired:
        raise SpaceError(
            f"{name} of {o.name} is retired since {moment(entry.since)}: `embeddings run {o.name}` "
            "with its settings builds it again, from the batches that are left"
        )


def _unusable(o: Opened, entry: SpaceEntry) -> list[str]:
    missing = without_variables(o.in_space(entry))
    if not missing:
        return []
    return [
        f"{' and '.join(missing)} is not set here, and who searches in {entry.space_id} needs it: "
        "set it where searches are answered, and here"
    ]


def _why(force: str | None, against: Sequence[str]) -> str:
    if force is None:
        return ""
    return f"forced: {force}" + (f" (against: {'; '.join(against)})" if against else "")
