"""Can this pipeline run here? Looks at everything a run needs, writes nothing.

It spends nothing either, unless it is told to ask the providers themselves.
"""

from pipelines.operations.doctor.examining import examine
from pipelines.operations.doctor.finding import Finding

__all__ = ["Finding", "examine"]
