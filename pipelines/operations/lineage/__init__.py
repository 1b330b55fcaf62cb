"""Which model made which vector, how, when and at what cost; and who still rests on a model."""

from pipelines.operations.lineage.summing import Summed, summary
from pipelines.operations.lineage.told import (
    InSpace,
    Share,
    SourceNow,
    VectorLineage,
)
from pipelines.operations.lineage.vectors import of_vector, of_vectors
from pipelines.operations.lineage.withdrawal import Resting, Withdrawal, Withdrawn, withdrawal

__all__ = [
    "InSpace",
    "Resting",
    "Share",
    "SourceNow",
    "Summed",
    "VectorLineage",
    "Withdrawal",
    "Withdrawn",
    "of_vector",
    "of_vectors",
    "summary",
    "withdrawal",
]
