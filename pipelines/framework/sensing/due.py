"""Why a run may be due although no document has changed: it must not be left out for that."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.work.opened import Opened
from pipelines.framework.sensing.runs import latest
from resources.core.errors import SearchIndexError


def due(
    o: Opened,
    instance: dg.DagsterInstance,
    *,
    now: float,
    fresh_for: timedelta | None = None,
) -> str:
    """A reason in a few words; empty where there is none. Its cost does not grow with the corpus.

    Args:
        o: The pipeline as its settings have it.
        instance: Where its runs are.
        now: In seconds since 1970.
        fresh_for: Half of it may pass without a materialization, which freshness goes by.
    """
    last = latest(instance, o.name)
    if last is None:
        return "no run is known"
    if not last.dagster_run.is_success:
        return "the latest run did not succeed"
    worked = [each for each in (o.kept, o.candidate) if each and not each.left_alone]
    if any(_unfinished(each) for each in worked if each.shards > 1):
        return "shards of the newest plan are not stored, or not indexed"
    ended = last.end_time or last.create_timestamp.timestamp()
    if o.registry.jobs_since(o.name, datetime.fromtimestamp(ended, UTC)):
        return "batch jobs have been submitted that no run has waited for"
    if any(o.registry.quarantine.due(each.lane) for each in worked):
        return "texts in quarantine are to be tried again"
    if not _index_serves(o):
        return "the index is not as the last run left it"
    if fresh_for is not None:
        event = instance.get_latest_materialization_event(dg.AssetKey([o.name, "search_index"]))
        if event is None or now - event.timestamp > fresh_for.total_seconds() / 2:
            return "half of the time is over in which it counts as fresh"
    return ""


def _unfinished(o: Opened) -> bool:
    return o.registry.plans.unfinished(o.lane, o.shards)


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
