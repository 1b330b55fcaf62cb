"""A pipeline in shards, as Dagster knows it: its partitions, and which of them a step is of.

A pipeline of one shard has none of this: its assets have no partitions at all.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from resources.core.errors import ConfigurationError
from resources.core.shards import shard_names, shard_number

WORK = "parts of the plan by shard"
"""Metadata of `source_documents`: how many parts of its plan each shard has to carry out."""
PLAN = "plan"
"""Metadata of the four assets: the id of the plan that they made, or carried out."""

Context = dg.AssetExecutionContext | dg.AssetCheckExecutionContext | dg.OpExecutionContext


def partitions(shards: int) -> dg.StaticPartitionsDefinition | None:
    """One for each shard; None where there are none."""
    return dg.StaticPartitionsDefinition(shard_names(shards)) if shards > 1 else None


def after_all(key: dg.AssetKey, shards: int) -> dg.AssetKey | dg.AssetDep:
    """What follows all shards of an asset."""
    if shards == 1:
        return key
    return dg.AssetDep(key, partition_mapping=dg.AllPartitionMapping())


def shard_of_step(context: Context, shards: int) -> int | None:
    """The shard that a step of a partitioned asset is of; None where there are none.

    Raises:
        ConfigurationError: It is of several, or of none.
    """
    if shards == 1:
        return None
    step = context if isinstance(context, dg.OpExecutionContext) else context.op_execution_context
    names = step.partition_keys if step.has_partition_key or step.has_partition_key_range else []
    if len(names) != 1:
        raise ConfigurationError(
            f"a run carries out one shard, and this one has {len(names)}: launch a backfill over "
            "the partitions, which makes a run for each, or name one with `--partition`"
        )
    return shard_number(names[0], shards)


@contextmanager
def partitioned_checks() -> Iterator[None]:
    """Dagster calls partitions of checks a preview, which is told once, here, and not to users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        yield
