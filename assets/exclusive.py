"""How an asset holds its pipeline: from a run's first asset to its last, one run at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
from pymongo import MongoClient

from resources.mongodb.lease import Lease, held
from resources.mongodb.resource import MongoDBResource


@contextmanager
def exclusive(
    context: dg.AssetExecutionContext, client: MongoClient, mongodb: MongoDBResource
) -> Iterator[Lease]:
    """Hold the asset's pipeline, and let it go after the last of the run's assets.

    Raises:
        LeaseError: Another run holds it.
    """
    pipeline = context.asset_key.path[0]
    layer = context.job_def.asset_layer
    selected = context.run.asset_selection or layer.selected_asset_keys
    after = layer.asset_graph.get(context.asset_key).child_keys
    instance = context.instance

    def finished(run: str) -> bool:
        known = instance.get_run_by_id(run)
        return known is not None and known.is_finished

    with held(
        client,
        mongodb.registry,
        pipeline,
        context.run_id,
        seconds=mongodb.lease_seconds,
        wait_seconds=mongodb.lease_wait_seconds,
        last=not any(key in selected for key in after),
        finished=finished,
        log=context.log.info,
    ) as lease:
        yield lease
