"""What assets came to: for the Dagster UI, and for whoever asked for the run."""

from assets.report.metadata import embedded, indexed, planned, stored
from assets.report.outcomes import Outcome, outcomes, result

__all__ = ["Outcome", "embedded", "indexed", "outcomes", "planned", "result", "stored"]
