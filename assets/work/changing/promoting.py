"""`promote`: let another space serve, once the gate lets it through."""

from collections.abc import Sequence
from dataclasses import replace

from assets.work.changing.finding import find
from assets.work.changing.flipping import Flipped, flip, moment
from assets.work.changing.standing import (
    check_idle,
    index_of,
    objections,
    without_variables,
)
from assets.work.gating import Verdict, judge
from assets.work.opened import Opened
from resources.core.errors import SpaceError
from resources.registry.pipeline_spaces import FLIPS, Change, SpaceEntry

FORCE = '`--force "reason"` lets it serve all the same'


class Stopped(SpaceError):
    """The gate stops it.

    Attributes:
        verdict: All that it has found.
    """

    def __init__(self, message: str, verdict: Verdict) -> None:
        super().__init__(message)
        self.verdict = verdict


def promote(o: Opened, wanted: str, *, force: str | None = None, by: str = "") -> Flipped:
    """Let a space serve.

    Args:
        o: The pipeline as its settings have it.
        wanted: Id of the space, or the beginning of one.
        force: Why it is to serve although something speaks against it; the gate is not asked. That
            is written down. What every search would refuse stays refused: a space that is not
            there, is retired, has no index that serves, or is worked on now.
        by: Who asks.

    Raises:
        SpaceError: It may not serve; the message says why, and what to do.
    """
    entry = find(o, wanted)
    _check_state(o, entry)
    lane = o.lying(entry)
    check_idle(o, lane)
    against = [*objections(lane, entry, index_of(lane)), *_unusable(o, entry)]
    if force is not None:
        against += [entry.gate] if entry.gate else []
        why = f"forced: {force}" + (f" (against: {'; '.join(against)})" if against else "")
        return _promoted(o, entry, why, by, against)
    if against:
        raise SpaceError(f"{against[0]} ({FORCE})")
    verdict = judged(o, entry)
    if not verdict.passed:
        raise Stopped(f"{entry.space_id} of {o.name} may not serve: {verdict} ({FORCE})", verdict)
    return replace(_promoted(o, entry, str(verdict), by, verdict.notes), verdict=verdict)


def judged(o: Opened, entry: SpaceEntry) -> Verdict:
    """What the gate says of a space, noted with it."""
    verdict = judge(o, entry)
    o.registry.of_pipelines.note(o.record, entry.space_id, gate=str(verdict))
    return verdict


def held_back(o: Opened, entry: SpaceEntry) -> str:
    """Why a candidate waits for a person although the gate lets it through; empty where it does
    not: who has gone back from it is not to be overruled by the next run.
    """
    record = o.record
    told = o.registry.of_pipelines.history(o.name)
    flips = (e for e in reversed(told) if e.event in FLIPS and e.store == str(record.store))
    last = next((e for e in flips if entry.space_id in (e.space_id, e.before)), None)
    if last is None or last.event != "rolled back" or last.before != entry.space_id:
        return ""
    if entry.built and last.at and last.at < entry.built:  # it has been made anew since
        return ""
    return (
        f"{last.by or 'somebody'} went back from it at {moment(last.at)}, so it does not serve by "
        f"itself again: `embeddings promote {o.name} {entry.space_id}` lets it"
    )


def promoted_by_itself(o: Opened, entry: SpaceEntry, verdict: Verdict) -> Flipped:
    """Let a candidate serve that the gate lets through: `promote: auto`.

    Args:
        o: In any space of the pipeline, at work in a run.
        entry: The candidate.
        verdict: Of this run.

    Raises:
        SpaceError: Somebody else was faster.
    """
    by = f"run {o.run}, by `promote: auto`"
    done = _promoted(o.settings, entry, str(verdict), by, verdict.notes)
    return replace(done, verdict=verdict)


def _promoted(o: Opened, entry: SpaceEntry, why: str, by: str, notes: Sequence[str]) -> Flipped:
    done = flip(o, Change("promoted", entry.space_id, by=by, why=why))
    return Flipped(o.name, o.record.serving, entry.space_id, done, notes=tuple(notes))


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
