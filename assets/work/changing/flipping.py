"""Let another space serve: one compare-and-set, and whoever comes too late is told."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from assets.work.changing.behind import Behind
from assets.work.gating.verdict import Verdict
from assets.work.opened import Opened
from assets.work.spaces import RACES
from resources.core.errors import SpaceError
from resources.registry.pipeline_spaces import Change, PipelineRecord


@dataclass(frozen=True)
class Flipped:
    """What a change of which space serves came to.

    Attributes:
        before: Id of the space that served until then.
        now: Of the one that serves from now on.
        change: As it stands in the history.
        behind: How far the space is behind the one that served, where that was counted.
        verdict: What the gate said; None where it was not asked.
        notes: What a person should know, as sentences.
    """

    pipeline: str
    before: str | None
    now: str
    change: Change
    behind: Behind | None = None
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()


def flip(o: Opened, change: Change, values: Mapping[str, Any] | None = None) -> Change:
    """Let a space serve, if the one that served when `o` looked still does.

    Raises:
        SpaceError: Another one serves by now; the message says who let it, and when.
    """
    spaces, seen, record = o.registry.of_pipelines, o.record.serving, o.record
    for _ in range(RACES):
        if record.serving != seen:
            raise SpaceError(_lost(o, record))
        entry = record.entry(change.space_id)
        if entry is None or entry.retired:
            raise SpaceError(f"{change.space_id} of {o.name} has just been retired: it stays so")
        done = spaces.serve(record, replace(change, run=o.run), **(values or {}))
        if done is not None:
            return spaces.last_flip(done) or change
        # A run may have noted something of a space: that is no reason to give up.
        record = spaces.get(o.name, o.base_key)
    raise SpaceError(f"the spaces of {o.name} are changed by others all the time: try it again")


def _lost(o: Opened, record: PipelineRecord) -> str:
    last = o.registry.of_pipelines.last_flip(record)
    who = f"{last.by or 'somebody'} was faster at {moment(last.at)}" if last else "it has changed"
    return (
        f"{record.serving} serves {o.name} by now ({who}): nothing is changed; look with "
        f"`embeddings spaces {o.name}`, and ask again if you still mean it"
    )


def moment(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "an unknown time"
