"""Bases of every settings class: unknown keys are refused, also where Dagster does not look."""

import dagster as dg
from pydantic import ConfigDict


class StrictConfig(dg.Config):
    """A nested block of a resource's configuration."""

    model_config = ConfigDict(extra="forbid")


class StrictResource(dg.ConfigurableResource):
    """A resource that a YAML run config can configure: settings.

    What needs closing (clients, models, files) is opened from it for as long as it is used.
    """

    model_config = ConfigDict(extra="forbid")
