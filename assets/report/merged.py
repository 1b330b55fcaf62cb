"""What the shards of a pipeline came to, one after another, as if it were one."""

import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from assets.report.outcomes import Outcome
from assets.work.embedded import Embedded
from assets.work.storing import Stored, Written

T = TypeVar("T")


def merged(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Outcomes with one of all shards' batches, and one of what they stored."""
    embedded, stored = _of(outcomes, Embedded), _of(outcomes, Stored)
    if len(embedded) < 2:
        return list(outcomes)
    apart = [each for each in outcomes if not isinstance(each, Embedded | Stored)]
    return [*apart, _embedded(embedded), _stored(stored)]


def _of(outcomes: Sequence[Outcome], kind: type[T]) -> list[T]:
    return [each for each in outcomes if isinstance(each, kind)]


def _embedded(shards: Sequence[Embedded]) -> Embedded:
    first, *others = shards
    whole = dataclasses.replace(first, refusals=dict(first.refusals))
    for other in others:
        whole.add(other)
        whole.chunks += other.chunks
    return whole


def _stored(shards: Sequence[Stored]) -> Stored:
    """The last one knows what is there now."""
    written = Written()
    for shard in shards:
        for field in dataclasses.fields(Written):
            more = getattr(shard.written, field.name)
            setattr(written, field.name, getattr(written, field.name) + more)
    clipped = [shard.clipped for shard in shards if shard.clipped is not None]
    removed = [shard.removed for shard in shards if shard.removed is not None]
    return dataclasses.replace(
        shards[-1],
        written=written,
        aside=sum(shard.aside for shard in shards),
        clipped=sum(clipped) if clipped else None,
        removed=sum(removed) if removed else None,
        of_shard=None,
    )
