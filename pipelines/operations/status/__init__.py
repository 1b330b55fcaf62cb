"""How all pipelines are: what serves, whether it is up to date, when it last ran, what it costs."""

from pipelines.operations.status.deployment import Seen, Spending
from pipelines.operations.status.judging import status
from pipelines.operations.status.rows import IndexStatus, LastRun, PipelineStatus, SpaceStatus

__all__ = [
    "IndexStatus",
    "LastRun",
    "PipelineStatus",
    "Seen",
    "SpaceStatus",
    "Spending",
    "status",
]
