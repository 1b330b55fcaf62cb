"""How pipelines are: what was seen of each, and what of it is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from assets.checks import MAX_QUARANTINE_SHARE
from pipelines.framework.modules import Declared
from pipelines.operations.several import PATIENCE_SECONDS, Looks, Unseen, chosen
from pipelines.operations.status.deployment import Seen, Spending, Stored
from pipelines.operations.status.instance import Ran, runs
from pipelines.operations.status.rows import LastRun, PipelineStatus
from resources.core.errors import EmbeddingsError
from resources.core.moment import now
from resources.core.progress import duration
from resources.freshness.resource import FreshnessResource


def status(
    names: Sequence[str] = (),
    overrides: Sequence[str | Path] = (),
    *,
    max_age: timedelta | None = None,
    patience: float = PATIENCE_SECONDS,
) -> list[PipelineStatus]:
    """How pipelines are, in the order of their names.

    Args:
        names: Of the pipelines; none for all of the project.
        overrides: YAML run configs merged on top of each pipeline's own.
        max_age: A pipeline whose last good run is older than this is not well; default: what its
            `freshness` calls a failure.
        patience: Seconds to wait for each deployment.
    """
    pipelines = chosen(names)
    looks = Looks(pipelines, Seen(Spending()).look, overrides, patience)
    ran = runs(pipelines)
    seen = looks.wait()
    return [
        _judged(each, seen[each.name], ran(each), max_age or _promised(each, overrides))
        for each in pipelines
    ]


def _promised(declared: Declared, overrides: Sequence[str | Path]) -> timedelta | None:
    """How old the vectors of a pipeline may be, by its own `freshness`."""
    try:
        found = declared.pipeline and declared.pipeline.resources(overrides)["freshness"]
        promised = found.promised if isinstance(found, FreshnessResource) else None
    except EmbeddingsError:  # what is wrong with its settings is told by who opens it
        return None
    return promised and promised[1]


def _judged(
    declared: Declared, seen: Stored | Unseen, ran: Ran, max_age: timedelta | None
) -> PipelineStatus:
    last, good = ran.last, ran.good
    age = (now() - good.ended).total_seconds() if good and good.ended else None
    row = PipelineStatus(
        declared.name,
        last_run=last and LastRun(last.id, last.state, last.started, last.ended, last.by),
        age_seconds=age,
    )
    wrong = list(_wrong_runs(ran, age, max_age)) if declared.pipeline else []
    if isinstance(seen, Unseen):
        if not seen.asleep:
            wrong.insert(0, seen.why)
        elif not (ran.last or ran.fault):
            wrong.append("it has not run yet")
        return replace(row, asleep=seen.asleep, wrong=tuple(wrong))
    if seen.undone and not ran.busy:
        wrong.append(seen.undone)
    row = replace(row, **_columns(seen))
    return replace(row, wrong=(*_wrong_store(seen), *wrong))


def _columns(seen: Stored) -> Mapping[str, object]:
    return {name: getattr(seen, name) for name in seen.__dataclass_fields__ if name != "undone"}


def _wrong_store(seen: Stored) -> list[str]:
    wrong = []
    if seen.index.state != "ready":
        wrong.append(f"index {seen.index.state}: {seen.index.why}")
    total = seen.vectors + seen.quarantined
    if total and seen.quarantined / total > MAX_QUARANTINE_SHARE:
        wrong.append(
            f"{seen.quarantined:,} of {total:,} are in quarantine, more than "
            f"{MAX_QUARANTINE_SHARE:.0%}"
        )
    return wrong


def _wrong_runs(ran: Ran, age: float | None, max_age: timedelta | None) -> list[str]:
    wrong = [ran.fault] if ran.fault else []
    if ran.ended and ran.ended.state != "succeeded":
        wrong.append(f"the last run {ran.ended.id} {_BECAME[ran.ended.state]}")
    if max_age is None or ran.fault:
        return wrong
    limit = duration(max_age.total_seconds())
    if age is None:
        wrong.append(f"no run has succeeded, and it should every {limit}")
    elif age > max_age.total_seconds():
        wrong.append(f"the last good run ended {duration(age)} ago, over {limit}")
    return wrong


_BECAME = {"failed": "failed", "canceled": "was canceled"}
