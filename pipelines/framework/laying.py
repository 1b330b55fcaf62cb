"""Run config fragments that are laid on top of a pipeline for some of its runs, as `-c` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assets.work.configured import RESOURCES
from pipelines.framework.run_config import merge, read_run_config, resource_values


def laid_on_top(files: Sequence[str | Path], prefix: str = "") -> dict[str, Any]:
    """The run config that several files make, each on top of those before it.

    Args:
        files: As given, or relative to `configs/`.
        prefix: Of the resources' keys, as the code location knows them.

    Raises:
        ConfigurationError: One is missing or wrong.
    """
    found: dict[str, Any] = {}
    for file in files:
        found = merge(found, read_run_config(file))
    # Dagster would take two variants of a union, from two files, for both chosen.
    given = resource_values(files, RESOURCES)
    found["resources"] = {
        prefix + key: {"config": config} for key, config in given.items() if config
    }
    return found
