"""Tags of a run, set while it works by the step that knows, whoever launched it."""

from collections.abc import Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

import dagster as dg
from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG

from assets import run_tags
from assets.work.candidate import Candidate
from assets.work.comparing import Planned
from assets.work.embedded import Embedded
from assets.work.opened import Opened
from assets.work.proving import Indexed
from assets.work.quality import Measured
from assets.work.storing import Stored

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext

Outcome = Planned | Embedded | Stored | Indexed | Measured | Candidate

AGAIN = "executed again"

_REASONS = {
    "dagster/schedule_name": "schedule",
    "dagster/from_automation_condition": "automation",
    "dagster/auto_materialize": "automation",
    "dagster/sensor_name": "sensor",
    "dagster/backfill": "backfill",
    "dagster/from_ui": "Dagster UI",
}
"""What Dagster itself says of a run's origin, the more exact first."""


def begun(context: Context, pipeline: str) -> None:
    """Say whose run it is, and why there is one, as far as Dagster tells."""
    run = context.run
    if "dagster/parent_run_id" not in run.tags:
        why = reason(run.tags)
        _say(context, {run_tags.PIPELINE: pipeline, **({run_tags.REASON: why} if why else {})})
    elif not _said(run.run_id) and not _done_before(context):
        # Dagster has given it the tags of the run before.
        results = (run_tags.EMBEDDED, run_tags.COST, run_tags.CHANGED)
        theirs = {name: "0" for name in results if name in run.tags}
        _say(context, {run_tags.PIPELINE: pipeline, run_tags.REASON: AGAIN, **theirs})


def limit(context: Context, most: timedelta) -> None:
    """Let Dagster's daemon end the run when it takes longer, whoever launched it."""
    _say(context, {MAX_RUNTIME_SECONDS_TAG: f"{most.total_seconds():.0f}"})


def _done_before(context: Context) -> bool:
    """Whether another process has done a step of this run, and said what there is to say."""
    stats = context.instance.get_run_stats(context.run.run_id)
    return bool(getattr(stats, "steps_succeeded", 0) or getattr(stats, "steps_failed", 0))


def reason(tags: Mapping[str, str]) -> str | None:
    """Why there is a run of these tags: what its launcher says, else what Dagster does."""
    theirs = (why for tag, why in _REASONS.items() if tag in tags)
    return tags.get(run_tags.REASON) or next(theirs, None)


def done(context: Context, o: Opened, outcome: Outcome) -> None:
    """Say what a step came to."""
    if isinstance(outcome, Candidate):
        _say(context, _beside(context, o, outcome))
        return
    tags = {run_tags.SPACE: o.space.id, run_tags.MODEL: o.embedder.facts().model}
    if isinstance(outcome, Embedded):
        tags[run_tags.EMBEDDED] = str(outcome.embedded)
        if outcome.cost_usd is not None:
            tags[run_tags.COST] = number(outcome.cost_usd)
    _say(context, {**tags, run_tags.CHANGED: _most(context, outcome)})


def changed_space(context: Context, space_id: str, count: int) -> None:
    """Say which space a run has let serve, or taken away, and how many vectors went."""
    _say(context, {run_tags.SPACE: space_id, run_tags.CHANGED: str(max(1, count))})


def nothing(context: Context) -> None:
    """Say that a step had nothing to do."""
    tags = _known(context)
    if run_tags.CHANGED not in tags:
        _say(context, {run_tags.CHANGED: "0"})


def _beside(context: Context, o: Opened, outcome: Candidate) -> dict[str, str]:
    """Of a run that has built a space beside the one that serves: what both took together."""
    before, made = _known(context), outcome.embedded
    cost, texts = (_number(before.get(name)) for name in (run_tags.COST, run_tags.EMBEDDED))
    tags = {
        run_tags.CANDIDATE: o.space.id,
        run_tags.MODEL: o.embedder.facts().model,  # what serves may be left as it is
        run_tags.SPACE: o.record.serving or "",
        **{name: before[name] for name in (run_tags.MODEL, run_tags.SPACE) if name in before},
        run_tags.EMBEDDED: str(int(texts) + made.embedded),
        run_tags.CHANGED: _most(context, outcome),
    }
    if made.cost_usd is not None:
        tags[run_tags.COST] = number(cost + made.cost_usd)
    return tags


def _known(context: Context) -> Mapping[str, str]:
    run = context.instance.get_run_by_id(context.run.run_id)
    return run.tags if run else {}


def _number(tag: str | None) -> float:
    """Whoever launches a run may give it any tags."""
    try:
        found = float(tag or 0)
    except ValueError:
        return 0.0
    return found if 0 <= found < float("inf") else 0.0


def _most(context: Context, outcome: Outcome) -> str:
    """One vector is written to a batch, stored and indexed: that is one change."""
    before = _known(context).get(run_tags.CHANGED, "")
    return str(max(_changed(outcome), int(before) if before.isdecimal() else 0))


def number(value: float) -> str:
    """Without an exponent, and without what does not count: `0.0123`."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _changed(outcome: Outcome) -> int:
    match outcome:
        case Measured():
            return int(not outcome.reused)  # a point of its history, which is to stay
        case Planned():
            return outcome.healed
        case Embedded():
            return outcome.embedded + outcome.copied + outcome.narrowed
        case Stored():
            return outcome.written.changes
        case Candidate():
            return max(outcome.changes, int(outcome.indexed.report.changed))
    if not outcome.report.changed:
        return 0
    details = outcome.report.details
    # The local engine follows the change; one on a server says only that there was one.
    touched = details.get("vectors read", outcome.report.indexed) + details.get("rows deleted", 0)
    return max(1, touched)


@lru_cache(maxsize=100)
def _said(run: str) -> dict[str, Any]:
    """What this process has said of a run."""
    return {}


def _say(context: Context, tags: Mapping[str, str]) -> None:
    run, said = context.run, _said(context.run.run_id)
    new = {name: value for name, value in tags.items() if {**run.tags, **said}.get(name) != value}
    if new:
        context.instance.add_run_tags(run.run_id, new)
        said.update(new)
