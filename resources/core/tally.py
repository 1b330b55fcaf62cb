"""How many things have something wrong, by what it is, and the first of them by name."""

from dataclasses import dataclass, field
from typing import Any

NAMED = 5
"""Ids that are named for each kind."""


@dataclass
class Fault:
    """Documents with one thing wrong."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """The first ids: `a, b, …`."""
        more = ", …" if self.count > len(self.examples) else ""
        return ", ".join(self.examples) + more


@dataclass
class Tally:
    """Faults by kind, in the order in which they were met."""

    faults: dict[str, Fault] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(fault.count for fault in self.faults.values())

    def add(self, kind: str, chunk_id: Any) -> None:
        fault = self.faults.setdefault(kind, Fault())
        fault.count += 1
        if len(fault.examples) < NAMED:
            fault.examples.append(str(chunk_id))
