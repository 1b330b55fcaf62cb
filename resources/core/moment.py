"""The time as MongoDB keeps it."""

from datetime import UTC, datetime


def now() -> datetime:
    """The time as MongoDB keeps it: UTC, milliseconds."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
