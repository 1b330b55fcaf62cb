"""Bases of every settings class: unknown keys are refused, also where Dagster does not look."""

import dagster as dg
from dagster._core.definitions.definition_config_schema import DefinitionConfigSchema
from pydantic import ConfigDict

from resources.core.variables import looked_up_later


class StrictConfig(dg.Config):
    """A nested block of a resource's configuration."""

    model_config = ConfigDict(extra="forbid")


class StrictResource(dg.ConfigurableResource):
    """A resource that a YAML run config can configure: settings.

    What needs closing (clients, models, files) is opened from it for as long as it is used.
    """

    model_config = ConfigDict(extra="forbid")

    @property
    def _config_schema(self) -> DefinitionConfigSchema:
        """What Dagster checks a run's config by, and resolves it."""
        return DefinitionConfigSchema(looked_up_later(super()._config_schema.as_field()))
