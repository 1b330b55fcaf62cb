"""Days of the calendar in UTC, as ledgers have them."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta


@dataclass(frozen=True)
class Days:
    """From one day to another; None leaves a side open.

    Attributes:
        first: The first of them.
        last: The last of them.
    """

    first: date | None = None
    last: date | None = None

    @classmethod
    def of_month(cls, month: date) -> "Days":
        """All days of the month that a day is in."""
        first = month.replace(day=1)
        if (first.year, first.month) == (date.max.year, date.max.month):
            return cls(first, date.max)
        after = (first + timedelta(days=31)).replace(day=1)
        return cls(first, after - timedelta(days=1))

    @property
    def limits(self) -> dict[str, datetime]:
        """A MongoDB condition on moments; empty where all are meant."""
        found = {}
        if self.first:
            found["$gte"] = datetime.combine(self.first, time(), UTC)
        if self.last and self.last < date.max:
            found["$lt"] = datetime.combine(self.last + timedelta(days=1), time(), UTC)
        return found

    @property
    def names(self) -> dict[str, str]:
        """A MongoDB condition on days that are written `2026-11-30`; empty likewise."""
        sides = {"$gte": self.first, "$lte": self.last}
        return {name: day.isoformat() for name, day in sides.items() if day}


ALWAYS = Days()
