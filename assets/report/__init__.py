"""What assets came to: for the Dagster UI, and for whoever asked for the run."""

from assets.report.metadata import embedded, indexed, planned, stored
from assets.report.outcomes import Outcome, left_alone, outcomes, result

__all__ = [
    "Outcome",
    "embedded",
    "indexed",
    "left_alone",
    "outcomes",
    "planned",
    "result",
    "stored",
]
