"""Every pipeline of `pipelines/` in one code location.

The other way, a code location for each pipeline, isolates them, and costs seconds and some 165 MiB
for every one. Which it is, `workspace.yaml` alone says. Here a resource's key carries its
pipeline's name (`films__embedder`), because one location has one resource under one key; assets,
checks, jobs and schedules are the same in both.
"""

import logging
import traceback
from collections.abc import Sequence

import dagster as dg

from pipelines.framework.catalog import find_pipeline, pipeline_names
from pipelines.framework.pipeline import declarations_only
from resources.core.errors import ConfigurationError


def resource_prefix(pipeline: str) -> str:
    return f"{pipeline}__"


def location(modules: Sequence[str]) -> dg.Definitions:
    """The definitions of several pipelines.

    One that is broken takes no other down: it stands in the asset graph with what is wrong.

    Args:
        modules: Names of modules in `pipelines/`.
    """
    parts: list[dg.Definitions] = []
    owners: dict[str, str] = {}
    for module in modules:
        try:
            with declarations_only():
                pipeline = find_pipeline(module)
            if pipeline.name in owners:
                raise ConfigurationError(
                    f"pipelines.{module} names its pipeline {pipeline.name!r}, as "
                    f"pipelines.{owners[pipeline.name]} does: give each a name of its own"
                )
            parts.append(pipeline.definitions(resource_prefix(pipeline.name)))
            owners[pipeline.name] = module
        except ConfigurationError as error:
            parts.append(_broken(module, str(error)))
        except Exception as error:  # whatever a module of the user's raises
            told = "".join(traceback.format_exception(error))
            parts.append(_broken(module, f"{type(error).__name__}: {error}", told))
    return dg.Definitions.merge(*parts)


def _broken(module: str, sentence: str, told: str = "") -> dg.Definitions:
    logging.getLogger("dagster").error(
        "pipelines.%s cannot be loaded: %s", module, told or sentence
    )
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                key=[module, "cannot_be_loaded"],
                description=f"The pipeline in pipelines/{module}.py cannot be loaded: {sentence}",
                metadata={"why": dg.MetadataValue.text(told or sentence)},
                kinds={"broken"},
                group_name="broken",
            )
        ]
    )


@dg.definitions
def defs() -> dg.Definitions:
    return location(pipeline_names())
