"""The resource `freshness`: how old a pipeline's vectors may become before Dagster says so."""

from datetime import timedelta

from pydantic import Field, field_validator

from resources.core.config import StrictResource
from resources.core.errors import ConfigurationError
from resources.core.length import length

SHORTEST = timedelta(minutes=1)
"""That Dagster takes for a window."""


class FreshnessResource(StrictResource):
    """What is promised of the vectors' age; read as the definitions load, so no run changes it."""

    warn: str | None = Field(
        default=None,
        description="Dagster warns when the vectors were last brought up to date so long ago: 6h, "
        "90m, 1d12h; sooner than `fail`.",
    )
    fail: str | None = Field(
        default=None,
        description="Likewise, and calls `stored_vectors` and `search_index` stale; `embeddings "
        "status` calls the pipeline not well. Default: nothing is promised.",
    )

    @field_validator("warn", "fail")
    @classmethod
    def _long_enough(cls, said: str | None) -> str | None:
        if said is not None and length(said) < SHORTEST:
            raise ValueError(f"{said!r} is under a minute, the least that Dagster watches")
        return said

    @property
    def promised(self) -> tuple[timedelta | None, timedelta] | None:
        """After how long Dagster warns, if it does, and fails; None where nothing is promised.

        Raises:
            ConfigurationError: They contradict each other.
        """
        if self.fail is None:
            if self.warn is not None:
                raise ConfigurationError(
                    f"freshness has `warn: {self.warn}` and no `fail`, without which Dagster "
                    "watches nothing: add one that is longer, such as `fail: 24h`"
                )
            return None
        warn, fail = length(self.warn) if self.warn else None, length(self.fail)
        if warn is not None and warn >= fail:
            raise ConfigurationError(
                f"freshness has `warn: {self.warn}` and `fail: {self.fail}`: the warning has to "
                "come first, so let `warn` be shorter than `fail`"
            )
        return warn, fail
