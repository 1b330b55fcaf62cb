"""What changed in which run of a pipeline: from the Dagster instance's records, the newest first.

A run's tags tell in short what became of it, see `assets.run_tags`; what they do not, the metadata
of its materializations does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

import dagster as dg

from assets import run_tags
from assets.about import ASSETS, CANDIDATE
from pipelines.framework.catalog import as_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.framework.step_failures import step_failure
from pipelines.operations.runs import PAGE, RunRecord, State, records, runs_of

EVENTS = 50
"""Of one run that are looked through for why it failed."""

Metadata = Mapping[str, Mapping[str, Any]]
"""Values by label, by asset."""


@dataclass(frozen=True)
class PastRun:
    """One run; None is what nothing was written down of.

    Attributes:
        started: When, in UTC; when it was asked for, where it has not begun.
        by: Who or what started it.
        changed_texts: Chunks of which the text is another one; `changed` counts what was written.
        quarantined: What stood in quarantine for it: rejected, refused now or before.
        cost_usd: At list price.
        candidate: Id of the space that it built beside the one that serves; texts, tokens and
            money are of both together.
        changed: Vectors, documents and entries of an index that it wrote or removed.
        why: What it failed of; empty where it did not.
    """

    id: str
    state: State
    started: datetime
    seconds: float | None
    by: str
    model: str | None = None
    space: str | None = None
    candidate: str | None = None
    new: int | None = None
    changed_texts: int | None = None
    deleted: int | None = None
    embedded: int | None = None
    tokens: int | None = None
    cost_usd: float | None = None
    quarantined: int | None = None
    changed: int | None = None
    why: str = ""

    @property
    def idle(self) -> bool:
        """It succeeded, and changed nothing."""
        return self.state == "succeeded" and self.changed == 0


@dataclass(frozen=True)
class IdleRuns:
    """Runs one after the other that changed nothing.

    Attributes:
        first: When the earliest began; likewise `last`.
    """

    runs: int
    first: datetime
    last: datetime


def history(
    pipeline: EmbeddingPipeline | str,
    *,
    limit: int = 20,
    since: datetime | None = None,
    every: bool = False,
) -> list[PastRun | IdleRuns]:
    """Runs of a pipeline, the newest first.

    Args:
        pipeline: Itself or its name.
        limit: So many entries at most; runs that are folded are one.
        since: Only runs that were asked for after this.
        every: Runs that changed nothing are entries of their own.

    Raises:
        ConfigurationError: There is no such pipeline.
        RecordsError: The Dagster instance cannot be read.
    """
    name = as_pipeline(pipeline).name
    found: list[PastRun | IdleRuns] = []
    with records() as instance:
        for run in _told(instance, name, since):
            last = found[-1] if found else None
            if not every and run.idle and isinstance(last, IdleRuns):
                found[-1] = replace(last, runs=last.runs + 1, first=run.started)
                continue
            if len(found) == limit:
                break
            idle = IdleRuns(1, run.started, run.started)
            found.append(idle if run.idle and not every else run)
    return found


def _told(instance: dg.DagsterInstance, pipeline: str, since: datetime | None) -> Iterator[PastRun]:
    runs = runs_of(instance, pipeline, since)
    while page := list(islice(runs, PAGE)):
        wanted = [run for run in page if run_tags.CHANGED not in run.tags or not _idle(run)]
        known = _metadata(instance, pipeline, wanted) if wanted else {}
        for run in page:
            told = _past(run, known.get(run.id, {}))
            yield replace(told, why=_why(instance, run.id)) if run.state == "failed" else told


def _idle(run: RunRecord) -> bool:
    return run.tags.get(run_tags.CHANGED) == "0"


def _metadata(
    instance: dg.DagsterInstance, pipeline: str, runs: Sequence[RunRecord]
) -> dict[str, Metadata]:
    """Of the materializations of some runs that follow one another, by run."""
    first = min(run.started for run in runs).timestamp()
    ends = [run.ended for run in runs]
    last = None if None in ends else max(end for end in ends if end).timestamp() + 1
    found: dict[str, dict[str, dict[str, Any]]] = {run.id: {} for run in runs}
    for asset in (*ASSETS, CANDIDATE):
        which = dg.AssetRecordsFilter(
            asset_key=dg.AssetKey([pipeline, asset]),
            after_timestamp=first - 1,
            before_timestamp=last,
        )
        # A run of a page may have been retried, or another's have come between.
        events = instance.fetch_materializations(which, limit=2 * PAGE).records
        for event in events:
            made = event.asset_materialization
            if made is not None and event.run_id in found:
                values = {label: value.value for label, value in made.metadata.items()}
                found[event.run_id].setdefault(asset, values)
    return {run: assets for run, assets in found.items()}


def _past(run: RunRecord, known: Metadata) -> PastRun:
    planned, embedded, stored, indexed = (known.get(asset, {}) for asset in ASSETS)
    built = known.get(CANDIDATE, {})
    if "new" not in planned:  # what serves was left as it is
        planned = built
    tags = run.tags
    cost, touched, texts = (
        _number(tags.get(name)) for name in (run_tags.COST, run_tags.CHANGED, run_tags.EMBEDDED)
    )
    rebuilt = indexed.get("rebuilt")
    writes = _both(_sum(stored, *_WRITES), _sum(built, *_WRITES))
    rebuilt = rebuilt or built.get("rebuilt")
    changed = None if writes is None and rebuilt is None else (writes or 0) + bool(rebuilt)
    return PastRun(
        run.id,
        run.state,
        run.started,
        run.seconds,
        run.by,
        model=tags.get(run_tags.MODEL) or embedded.get("model"),
        space=tags.get(run_tags.SPACE) or planned.get("space"),
        candidate=tags.get(run_tags.CANDIDATE),
        new=planned.get("new"),
        changed_texts=planned.get("changed"),
        deleted=_sum(planned, "deleted", "outdated"),
        embedded=embedded.get("embedded") if texts is None else int(texts),
        tokens=_both(embedded.get("tokens"), built.get("tokens")),
        cost_usd=embedded.get("cost (USD)") if cost is None else cost,
        quarantined=_sum({**planned, **embedded}, *_REFUSED),
        changed=changed if touched is None else int(touched),
    )


_WRITES = (
    "vectors written",
    "fields refreshed",
    "deleted",
    "withdrawn (no vector of their text)",
)
_REFUSED = ("rejected now", "refused before", "refused by the provider")


def _sum(metadata: Mapping[str, Any], *labels: str) -> int | None:
    values = [metadata[label] for label in labels if label in metadata]
    return int(sum(values)) if values else None


def _both(one: int | None, other: int | None) -> int | None:
    """The sum of what is known of two spaces."""
    return other if one is None else one + (other or 0)


def _number(text: str | None) -> float | None:
    """Of a tag, which anybody may have set."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _why(instance: dg.DagsterInstance, run_id: str) -> str:
    """The sentences of the steps that failed, else what Dagster says."""
    for kind in (dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE):
        found = instance.get_records_for_run(run_id, of_type=kind, limit=EVENTS).records
        events = [record.event_log_entry.dagster_event for record in found]
        said = [
            step_failure(event) if event.is_step_failure else event.message or ""
            for event in events
            if event is not None
        ]
        if any(said):
            return "; besides, ".join(filter(None, said))
    return ""
