"""What the gate says of a space, criterion by criterion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """One criterion.

    Attributes:
        criterion: What is looked at.
        serving: How the space that serves stands, for people.
        candidate: How the other one does.
        allowed: What is asked of it; empty where it is only shown.
        passed: None where it is only shown.
        figures: The same as numbers, by name: `serving`, `candidate`, and what belongs to them.
    """

    criterion: str
    serving: str
    candidate: str
    allowed: str = ""
    passed: bool | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        against = f" against {self.serving}" if self.serving else ""
        return f"{self.criterion} {self.candidate}{against}"


@dataclass(frozen=True)
class Verdict:
    """Whether a space may serve.

    Attributes:
        space: Its id.
        serving: Id of the one that serves; empty where none does.
        rows: What was looked at.
        cannot: Why the gate cannot judge; empty where it can.
        queries: What was asked.
        known_item: The queries were made from the documents, since nobody has judged any.
        notes: What a person should know.
        evaluations: Ids of what was measured, by space.
        measured: Anything was measured now; else all was known.
    """

    space: str
    serving: str
    rows: Sequence[Row] = ()
    cannot: str = ""
    queries: str = ""
    known_item: bool = False
    notes: Sequence[str] = ()
    evaluations: Mapping[str, str] = field(default_factory=dict)
    measured: bool = False

    @property
    def passed(self) -> bool:
        return not self.cannot and not self.stopped_by

    @property
    def stopped_by(self) -> Sequence[Row]:
        return [row for row in self.rows if row.passed is False]

    def __str__(self) -> str:
        """In one sentence, without a stop."""
        if self.stopped_by:
            told = (f"{row} (asked: {row.allowed})" for row in self.stopped_by)
            return f"the gate stops it: {'; '.join(told)}"
        if self.cannot:
            return f"the gate cannot judge: {self.cannot}"
        asked = f" ({self.queries})" if self.queries else ""
        return f"the gate lets it through: {'; '.join(map(str, self.rows))}{asked}"
