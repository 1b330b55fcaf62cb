"""What assets came to, for whoever asked for the run; and the result that Dagster records."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dagster as dg

from assets.work.candidate import Candidate
from assets.work.comparing import Planned
from assets.work.embedded import Embedded
from assets.work.opened import Opened
from assets.work.proving import Indexed
from assets.work.quality import Measured
from assets.work.storing import Stored

Outcome = Planned | Embedded | Stored | Indexed | Measured | Candidate

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


def left_alone(o: Opened, version: dg.DataVersion | None) -> dg.MaterializeResult:
    """The result of an asset of the space that serves, where a run builds another one only."""
    serving = o.record.serving or ""
    o.log(f"the space {serving} serves and is left as it is: {o.left_alone}")
    metadata = {"left as it is": o.left_alone, "serving": serving}
    return dg.MaterializeResult(metadata=metadata, data_version=version)


def result(
    outcome: Outcome, metadata: dict[str, Any], version: dg.DataVersion | None
) -> dg.MaterializeResult:
    """An asset's result; the outcome itself is kept for `outcomes`.

    Args:
        outcome: Of its step.
        metadata: Of its materialization.
        version: Of what is there now: see `assets.report.versions`.
    """
    collected = _collected.get()
    if collected is not None:
        collected.append(outcome)
    return dg.MaterializeResult(metadata=metadata, data_version=version)
