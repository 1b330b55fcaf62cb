"""What a step does when it failed of what may pass by itself: it is tried again after a while.

A provider's own tries and the driver's come before, so this is for outages that are longer. What a
step has paid for lies in batches: tried again, it goes on from there. The run stays the holder of
its pipeline while it waits, as far as the server can be told.
"""

from dataclasses import dataclass
from datetime import timedelta

import dagster as dg
from pymongo.errors import PyMongoError

from assets.failing import StepFailed
from resources.core.errors import EmbeddingsError
from resources.mongodb.deployment import passing
from resources.runs.resource import RunsResource

Step = dg.AssetExecutionContext | dg.AssetCheckExecutionContext


@dataclass(frozen=True)
class Tries:
    """Of a step.

    Attributes:
        again: How often this step was tried again already.
        left: Whether it may be once more.
        settings: Of its run.
    """

    again: int
    left: bool
    settings: RunsResource

    @classmethod
    def of(cls, context: Step, settings: RunsResource) -> "Tries":
        step = context.op_execution_context.get_step_execution_context()
        again = step.previous_attempt_count
        return cls(again, not step.retry_mode.disabled and again < settings.retries, settings)

    def worth(self, error: BaseException) -> bool:
        """Whether the step is tried again after an error, as it was raised or as it is told."""
        if isinstance(error, PyMongoError):
            return self.left and passing(error)
        return self.left and isinstance(error, EmbeddingsError) and error.passing

    @property
    def pause(self) -> timedelta:
        return self.settings.pause(self.again)

    def request(self, failed: StepFailed) -> dg.RetryRequested:
        """What Dagster is to be asked for, raised from the failure."""
        seconds = self.pause.total_seconds()
        requested = dg.RetryRequested(self.settings.retries, seconds)
        requested.__cause__ = failed
        return requested
