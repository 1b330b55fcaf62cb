"""Why a run may be due although no document has changed: it must not be left out for that."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets import run_tags
from assets.work.opened import Opened
from pipelines.framework.sensing.runs import latest
from resources.core.errors import SearchIndexError
from resources.core.lane import Lane
from resources.registry.pipeline_spaces import SpaceEntry

CANCELED_SECONDS = 3600.0
"""After which one that was canceled is tried again."""


def due(
    o: Opened,
    instance: dg.DagsterInstance,
    *,
    now: float,
    fresh_for: timedelta | None = None,
    handed: str = "",
) -> str:
    """A reason in a few words; empty where there is none. Its cost does not grow with the corpus.

    Args:
        o: The pipeline as its settings have it.
        instance: Where its runs are.
        now: In seconds since 1970.
        fresh_for: Half of it may pass without a materialization, which freshness goes by.
        handed: The last of what the sensor has handed to runs that has succeeded.
    """
    last = latest(instance, o.name)
    if last is None:
        return "no run is known"
    ended = last.end_time or last.create_timestamp.timestamp()
    if last.dagster_run.status is dg.DagsterRunStatus.CANCELED:
        # Whoever has canceled it does not want it again at once.
        return "the latest run was canceled" if now - ended > CANCELED_SECONDS else ""
    if not last.dagster_run.is_success:
        return "the latest run did not succeed"
    main, beside = _worked_on(o, last.dagster_run.tags.get(run_tags.CANDIDATE, ""))
    lanes, plans = [*main, *beside], o.registry.plans
    if any(plans.asked(each) for each in lanes):
        return "entries of the quarantine were dropped"
    if handed and (
        any(plans.left_out(each, handed) for each in main)
        # One that other settings have asked for is not the sensor's.
        or any(plans.left_out(each, handed, by_sensor=True) for each in beside)
    ):
        return "a space was not worked on while documents changed"
    if o.shards > 1 and any(plans.unfinished(each, o.shards) for each in main):
        return "shards of the newest plan are not stored, or not indexed"
    if o.registry.jobs_since(o.name, datetime.fromtimestamp(ended, UTC)):
        return "batch jobs have been submitted that no run has waited for"
    if any(o.registry.quarantine.due(each) for each in lanes or [o.name]):
        return "texts in quarantine are to be tried again"
    if not _index_serves(o):
        return "the index is not as the last run left it"
    if fresh_for is not None:
        event = instance.get_latest_materialization_event(dg.AssetKey([o.name, "search_index"]))
        if event is None or now - event.timestamp > fresh_for.total_seconds() / 2:
            return "half of the time is over in which it counts as fresh"
    return ""


def _worked_on(o: Opened, candidate: str) -> tuple[list[Lane], list[Lane]]:
    """Lanes of the spaces that runs work on, as the registry knows them: no model is asked.

    Args:
        o: The pipeline.
        candidate: The space that the latest run has built beside the one that serves, if any.

    Returns:
        Those at the place of the one that serves, and that of the candidate.
    """
    record = o.record
    serving, beside = record.entry(record.serving), record.entry(candidate)
    if beside is not None and (beside.retired or beside is serving):
        beside = None
    # What nobody has noted how to embed is left as it is, and so may be what is to be replaced.
    kept = o.model_change.keep_serving and serving is not None and serving.embedder is not None
    if beside is not None and serving is not None and not kept:
        return [], [_lane(o, beside)]
    place = serving.place if serving else ""
    begun = (e for e in record.entries() if e.place == place and not (e.built or e.retired))
    main = {entry.space_id: _lane(o, entry) for entry in (serving, *begun) if entry is not None}
    return list(main.values()), [_lane(o, beside)] if beside else []


def _lane(o: Opened, entry: SpaceEntry) -> Lane:
    return Lane(o.name, entry.space_id, place=entry.place)


def _index_serves(o: Opened) -> bool:
    serving = o.record.entry(o.record.serving)
    if serving is None:  # what a first run was to make, the latest run has failed at
        return True
    there = o.lying(serving)
    try:
        found = there.engine.glance(None)
    except SearchIndexError:
        return False
    if there.engine.name == "local":
        return not found.why
    # A search node is late as a rule, and catches up by itself.
    return bool(found.indexed or not found.stored)
