"""The time as MongoDB keeps it, and how much of it has passed."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The time as MongoDB keeps it: UTC, milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def elapsed() -> float:
    """Seconds that go on while the machine is suspended, where the system counts those."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)
