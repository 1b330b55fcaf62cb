"""Settings as a YAML writes them: variables by their names, so that nothing secret is kept."""

import os
import typing
from collections.abc import Mapping
from typing import Any

import dagster as dg
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from resources.core.credentials import in_clear
from resources.core.errors import ConfigurationError
from resources.core.variables import not_set


def as_written(settings: BaseModel, given: Mapping[str, Any]) -> dict[str, Any]:
    """What stands for resolved settings in a run config; what is None is left out.

    Args:
        settings: A resource, or a block of one, whose variables may be looked up already.
        given: What a run's config says on top of the defaults of their class.

    Raises:
        ConfigurationError: A secret would stand there in clear.
    """
    found = _written(settings, given, type(settings))
    for path, what in in_clear(found):
        raise ConfigurationError(f"{'.'.join(map(str, path))} {what}, and cannot be kept")
    return found


def block(owner: type[BaseModel], name: str, written: Mapping[str, Any]) -> Any:
    """A block of a settings class from what `as_written` made of it: `{voyage: {model: …}}`.

    A variable that is not set is looked for when the block is used: see `variables.unset`.

    Raises:
        ConfigurationError: This version of the code knows no such kind of block, or setting.
    """
    ((kind, values),) = written.items()
    variant = _variants(owner.model_fields[name]).get(kind)
    if variant is None:
        raise ConfigurationError(f"there is no {name} of the kind {kind!r} here")
    try:
        return variant(**{key: _resolved(value) for key, value in values.items()})
    except ValueError as error:
        raise ConfigurationError(f"{name}.{kind}: {error}") from error


def _written(settings: BaseModel, given: Mapping[str, Any], defaults: Any) -> dict[str, Any]:
    found = {}
    for name, info in type(settings).model_fields.items():
        key, value = info.alias or name, getattr(settings, name)
        by_class = info.default if isinstance(defaults, type) else getattr(defaults, name, None)
        said = given.get(key, by_class)
        if isinstance(value, dg.EnvVar) or isinstance(said, dg.EnvVar):
            variable = value if isinstance(value, dg.EnvVar) else said
            found[key] = {"env": variable.env_var_name}
        elif isinstance(said, Mapping) and set(said) == {"env"}:
            found[key] = dict(said)
        elif isinstance(value, BaseModel):
            inner = said if isinstance(said, Mapping) else {}
            below: Any = type(value) if isinstance(said, Mapping) else said
            if info.discriminator:
                (kind,) = [value.kind]  # type: ignore[attr-defined]
                inner = inner.get(kind) or {}
                within = _written(value, inner, below)
                within.pop("kind", None)
                found[key] = {kind: within}
            else:
                found[key] = _written(value, inner, below)
        elif value is not None:
            found[key] = value
    return found


def _variants(info: FieldInfo) -> dict[str, type[BaseModel]]:
    kinds: Any = typing.get_args(info.annotation) or (info.annotation,)
    return {kind.model_fields["kind"].default: kind for kind in kinds}


def _resolved(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"env"}:
        return os.environ.get(value["env"]) or not_set(value["env"])
    return value
