"""The resource `runs`: how often a run tries again by itself, and how long it may take."""

from datetime import timedelta

from pydantic import Field, field_validator

from resources.core.config import StrictResource
from resources.core.length import length


class RunsResource(StrictResource):
    """What a run bears: what passes by itself is tried again, and whatever takes too long ends."""

    retries: int = Field(
        default=3,
        ge=0,
        le=20,
        description="How often a step is tried again that failed of what may pass: a connection "
        "that was lost, a provider's outage. `embeddings run`, before which somebody waits, does "
        "so only where this is said.",
    )
    retry_pause: str = Field(
        default="30s", description="Before the first of them; each further one waits twice as long."
    )
    max_runtime: str | None = Field(
        default=None,
        description="A run that takes longer is ended as failed, by Dagster's daemon: 12h, 1d.",
    )
    max_step_runtime: str | None = Field(
        default=None,
        description="A step that takes longer ends its run, which keeps what it has paid for.",
    )

    @field_validator("retry_pause", "max_runtime", "max_step_runtime")
    @classmethod
    def _a_length(cls, said: str | None) -> str | None:
        if said is not None:
            length(said)
        return said

    def pause(self, tried: int) -> timedelta:
        """Before another try of what was tried again so often already."""
        return length(self.retry_pause) * 2**tried
