"""Environment variables that settings name (`{env: VOYAGE_API_KEY}`) and that are not set.

Dagster looks them up before a run exists: one that is not set is an internal error of its GraphQL
API, and the Launchpad has nothing to say of it. Here the setting says that it is unset instead, and
whoever opens it is told by a sentence, see `unset`.
"""

import os
from collections.abc import Iterator
from functools import cache
from typing import Any

from dagster import Array, Field, Map, Noneable, Selector, Shape, StringSource
from pydantic import BaseModel

_UNSET = "\x00unset "
"""Before the variable's name; no setting that means something begins so."""


def not_set(name: str) -> str:
    """What stands for the value of a variable that is not set."""
    return _UNSET + name


class _LaterStringSource(type(StringSource)):
    """A text, or the name of a variable that holds it."""

    def __init__(self) -> None:
        super().__init__()
        # Dagster keeps types by their key, and those made of them.
        self.key = "TextOrVariable"

    def post_process(self, value: Any) -> str:
        if not isinstance(value, dict):
            return value
        (name,) = value.values()
        return os.environ.get(name) or not_set(name)


@cache
def _later() -> _LaterStringSource:
    return _LaterStringSource()


def looked_up_later(field: Field) -> Field:
    """A field of a resource's schema, for which no variable need be set until it is used."""
    default = {"default_value": field.default_value} if field.default_provided else {}
    return Field(
        _type(field.config_type),
        is_required=field.is_required,
        description=field.description,
        **default,
    )


def _type(found: Any) -> Any:
    if found is StringSource:
        return _later()
    if isinstance(found, Shape):
        fields = {name: looked_up_later(each) for name, each in found.fields.items()}
        return Shape(fields, found.description, found.field_aliases)
    if isinstance(found, Selector):
        fields = {name: looked_up_later(each) for name, each in found.fields.items()}
        return Selector(fields, found.description)
    if isinstance(found, Noneable):
        return Noneable(_type(found.inner_type))
    if isinstance(found, Array):
        return Array(_type(found.inner_type))
    if isinstance(found, Map):
        return Map(found.key_type, _type(found.inner_type), found.given_name)
    return found


def unset(settings: Any) -> Iterator[str]:
    """Names of variables that settings, resolved by Dagster, would need."""
    if isinstance(settings, str):
        if settings.startswith(_UNSET):
            yield settings.removeprefix(_UNSET)
    elif isinstance(settings, BaseModel):
        for name in type(settings).model_fields:
            yield from unset(getattr(settings, name))
    elif isinstance(settings, dict):
        for value in settings.values():
            yield from unset(value)
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from unset(value)
