"""How an asset holds its lane: from a run's first asset to its last, one run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pymongo import MongoClient

from resources.core.lane import Lane
from resources.mongodb.lease import Lease, held
from resources.mongodb.resource import MongoDBResource

_IN_ONE_PROCESS = ("execute_in_process_executor", "in_process")


@contextmanager
def exclusive(
    context: dg.AssetExecutionContext, client: MongoClient, mongodb: MongoDBResource, lane: Lane
) -> Iterator[Lease]:
    """Hold the asset's lane, and let it go after the last of the run's assets.

    Raises:
        LeaseError: Another run holds it.
    """
    layer = context.job_def.asset_layer
    selected = context.run.asset_selection or layer.selected_asset_keys
    after = layer.asset_graph.get(context.asset_key).child_keys
    with held(
        client,
        mongodb.registry,
        lane,
        context.run_id,
        seconds=mongodb.lease_seconds,
        wait_seconds=mongodb.lease_wait_seconds,
        last=not any(key in selected for key in after),
        one_process=_one_process(context),
        finished=Finished(context.instance),
        log=context.log.info,
    ) as lease:
        yield lease


class Finished:
    """Tells whether a run has finished; None of one that this Dagster instance does not know."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def __call__(self, run: str) -> bool | None:
        known = self._instance.get_run_by_id(run)
        return None if known is None else known.is_finished


def _one_process(context: dg.AssetExecutionContext) -> bool:
    """Whether all steps of the run are done in this process."""
    execution: Any = context.run.run_config.get("execution") or {}
    named = context.job_def.executor_def.name in _IN_ONE_PROCESS
    return named or "in_process" in (execution.get("config") or {})
