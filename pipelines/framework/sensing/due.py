"""Why a run may be due although no document has changed: it must not be left out for that."""

from datetime import timedelta

import dagster as dg
from pymongo import MongoClient

from pipelines.framework.sensing.runs import latest
from resources.registry.registry import Registry


def due(
    client: MongoClient,
    registry: str,
    instance: dg.DagsterInstance,
    pipeline: str,
    *,
    now: float,
    fresh_for: timedelta | None = None,
) -> str:
    """A reason in a few words; empty where there is none.

    Args:
        client: Of the deployment.
        registry: Its database of what pipelines share.
        instance: Where runs are.
        pipeline: Its name.
        now: In seconds since 1970.
        fresh_for: Half of it may pass without a materialization, which freshness goes by.
    """
    known = Registry(client, registry)
    last = latest(instance, pipeline)
    if last is None:
        return "no run is known"
    if last.status is not dg.DagsterRunStatus.SUCCESS:
        return "the latest run did not succeed"
    if known.jobs_under_way(pipeline):
        return "batch jobs are under way"
    if known.quarantine.due(pipeline):
        return "texts in quarantine are to be tried again"
    if fresh_for is not None:
        event = instance.get_latest_materialization_event(dg.AssetKey([pipeline, "search_index"]))
        if event is None or now - event.timestamp > fresh_for.total_seconds() / 2:
            return "half of the time is over in which it counts as fresh"
    return ""
