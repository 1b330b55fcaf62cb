"""A pipeline in shards: its jobs.

A job over assets with and without partitions would scan the source, and build the index, once a
shard. So there are three: `<name>` plans, `<name>_shards` carries out one shard of the plan, and
`<name>_index` follows when all are done: see `pipelines.framework.sensing.shards`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from assets import run_tags
from assets.about import ASSETS
from assets.sharding import partitions

SOURCE, BATCHES, STORED, INDEX = ASSETS


def shards_job(pipeline: str) -> str:
    return f"{pipeline}_shards"


def index_job(pipeline: str) -> str:
    return f"{pipeline}_index"


def jobs_of(pipeline: str) -> tuple[str, str, str]:
    """The jobs whose runs make what the pipeline makes, in their order."""
    return pipeline, shards_job(pipeline), index_job(pipeline)


def of_source(pipeline: str) -> dg.AssetSelection:
    """What the pipeline's own job makes: of the checks on it, one waits for what is stored."""
    key = dg.AssetKey([pipeline, SOURCE])
    late = dg.AssetSelection.checks(dg.AssetCheckKey(key, "few_in_quarantine"))
    return dg.AssetSelection.assets(key) - late


def build_jobs(pipeline: str, shards: int, every: dg.AssetSelection) -> list[Any]:
    """The jobs that come after the pipeline's own.

    Args:
        pipeline: Its name.
        shards: How many there are.
        every: All that its runs make.
    """
    in_shards = dg.AssetSelection.assets([pipeline, BATCHES], [pipeline, STORED])
    tags = {run_tags.PIPELINE: pipeline}
    return [
        dg.define_asset_job(
            shards_job(pipeline),
            selection=in_shards,
            partitions_def=partitions(shards),
            tags=tags,
            description=f"Embed and store a shard of what is new or changed in {pipeline}.",
        ),
        dg.define_asset_job(
            index_job(pipeline),
            selection=every - in_shards - of_source(pipeline),
            tags=tags,
            description=f"Bring the index of {pipeline} up to date, when all shards are stored.",
        ),
    ]


def to_carry_out(work: Mapping[str, int], stored: Sequence[str]) -> list[str]:
    """Shards of a plan that have something to do, or have never been stored at all."""
    return [name for name, parts in work.items() if parts or name not in stored]


def steps(pipeline: str, shards: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """The jobs that carry a plan out, in order, each with the shard that it is of."""
    for name in shards:
        yield shards_job(pipeline), name
    yield index_job(pipeline), None
