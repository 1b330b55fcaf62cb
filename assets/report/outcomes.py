"""What assets came to, for whoever asked for the run; and the result that Dagster records."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dagster as dg

from assets.work.comparing import Planned
from assets.work.embedding import Embedded
from assets.work.proving import Indexed
from assets.work.quality import Measured
from assets.work.storing import Stored

Outcome = Planned | Embedded | Stored | Indexed | Measured

_collected: ContextVar[list[Outcome] | None] = ContextVar("outcomes", default=None)


@contextmanager
def outcomes() -> Iterator[list[Outcome]]:
    """What the assets come to that this process materializes, in order."""
    found: list[Outcome] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def result(outcome: Outcome, metadata: dict[str, Any]) -> dg.MaterializeResult:
    """An asset's result; the outcome itself is kept for `outcomes`."""
    collected = _collected.get()
    if collected is not None:
        collected.append(outcome)
    return dg.MaterializeResult(metadata=metadata)
