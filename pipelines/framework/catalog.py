"""Find pipelines by name, and open them outside a run."""

import importlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import dagster as dg
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from assets.work.opened import Opened
from pipelines.framework.names import pipeline_names
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import ConfigurationError
from resources.core.variables import not_set

M = TypeVar("M", bound=BaseModel)


def find_pipeline(name: str) -> EmbeddingPipeline:
    """The pipeline of a module `pipelines.<name>`, or of any module given with its dots.

    Raises:
        ConfigurationError: There is no such module, or it declares no pipeline.
    """
    module_name = name if "." in name else f"pipelines.{name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        known = ", ".join(pipeline_names())
        raise ConfigurationError(f"there is no pipeline {name!r}; there are: {known}") from error
    found = getattr(module, "pipeline", None)
    if not isinstance(found, EmbeddingPipeline):
        raise ConfigurationError(
            f"{module_name} declares no `pipeline = EmbeddingPipeline(…)`; pipelines: "
            f"{', '.join(pipeline_names())}"
        )
    return found


def unset_variables(settings: BaseModel) -> list[str]:
    """Environment variables that settings name, also by default, and that are not set."""
    names = []
    for field in type(settings).model_fields:
        value = getattr(settings, field)
        if isinstance(value, dg.EnvVar):
            names += [] if os.environ.get(value.env_var_name) else [value.env_var_name]
        elif isinstance(value, BaseModel):
            names += unset_variables(value)
    return names


def missing_variables(
    pipeline: EmbeddingPipeline | str, overrides: Sequence[str | Path] = ()
) -> dict[str, str]:
    """Environment variables that a run needs and that are not set, and which resource does."""
    resources = as_pipeline(pipeline).resources(overrides)
    return {name: key for key, each in resources.items() for name in unset_variables(each)}


@contextmanager
def open_pipeline(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    without: Collection[str] = (),
    later: Collection[str] = (),
    run: str = "",
    log: Callable[[str], None] = lambda line: None,
) -> Iterator[Opened]:
    """A pipeline as a run would get it, outside of one.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        without: Environment variables that may be missing, for who only looks.
        later: Variables that may be missing until something is embedded: see `variables.unset`.
        run: Who is at work; empty for who only looks.
        log: Takes lines of progress.

    Raises:
        ConfigurationError: The YAML is wrong; or, when a resource is asked for, an environment
            variable is not set.
    """
    found = as_pipeline(pipeline)
    resources = found.resources(overrides)

    def resource(key: str) -> Any:
        settings = resources[key]
        missing = [name for name in unset_variables(settings) if name not in (*without, *later)]
        if missing:
            raise ConfigurationError(
                f"pipeline {found.name} needs {missing[0]} for its {key}: set that environment "
                "variable, or choose another with `-c`"
            )
        # Dagster's own way of resolving variables makes an instance with a database for each.
        return _resolved(settings, later)

    with ExitStack() as stack:
        made = Opened(found.name, resource, stack, run=run, log=log)
        made.shards = found.shards
        yield made


def as_pipeline(pipeline: EmbeddingPipeline | str) -> EmbeddingPipeline:
    """The pipeline itself, or the one of that name: see `find_pipeline`."""
    return find_pipeline(pipeline) if isinstance(pipeline, str) else pipeline


def _resolved(settings: M, later: Collection[str]) -> M:
    """The settings with what the environment says; something for variables that are not set."""
    update: dict[str, Any] = {}
    for field, info in type(settings).model_fields.items():
        value = getattr(settings, field)
        if isinstance(value, dg.EnvVar):
            name = value.env_var_name
            said = os.environ.get(name)
            missing = not_set(name) if name in later else f"({name} is not set)"
            update[field] = _read(name, said, info) if said else missing
        elif isinstance(value, BaseModel):
            update[field] = _resolved(value, later)
    return settings.model_copy(update=update) if update else settings


def _read(name: str, said: str, field: FieldInfo) -> Any:
    try:
        return TypeAdapter[Any](field.annotation or str).validate_python(said)
    except ValidationError as error:
        wrong = error.errors()[0]["msg"]
        raise ConfigurationError(f"{name} cannot be used: {wrong}") from None
