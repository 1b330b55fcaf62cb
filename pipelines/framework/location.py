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

from pipelines.framework.modules import load
from pipelines.framework.names import pipeline_names
from resources.core.errors import EmbeddingsError
from resources.core.markdown import literal


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
        found = load(module)
        if found.pipeline is None:
            parts.append(_broken(module, found.fault, found.error))
        elif found.pipeline.name in owners:
            fault = (
                f"it names its pipeline {found.pipeline.name!r}, as "
                f"pipelines.{owners[found.pipeline.name]} does: give each a name of its own"
            )
            parts.append(_broken(module, fault))
        else:
            owners[found.pipeline.name] = module
            parts.append(found.pipeline.definitions(resource_prefix(found.pipeline.name)))
    return dg.Definitions.merge(*parts)


def _broken(module: str, sentence: str, error: BaseException | None = None) -> dg.Definitions:
    told = sentence
    if error is not None and not isinstance(error, EmbeddingsError):
        told = "".join(traceback.format_exception(error))
    log = logging.getLogger("dagster")
    log.error("pipelines.%s cannot be loaded: %s", module, told)
    return dg.Definitions(
        assets=[
            dg.AssetSpec(
                key=[module, "cannot_be_loaded"],
                description=literal(
                    f"The pipeline in pipelines/{module}.py cannot be loaded: {sentence}"
                ),
                metadata={"why": dg.MetadataValue.text(told)},
                kinds={"broken"},
                group_name="broken",
            )
        ]
    )


@dg.definitions
def defs() -> dg.Definitions:
    return location(pipeline_names())
