"""docs/settings.md, made from the settings classes: every key of a run config."""

import dataclasses
import inspect
import json
import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import dagster as dg
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from assets.work.configured import RESOURCES
from pipelines.framework.pipeline import EmbeddingPipeline

HEAD = """\
# Settings

Made by `make docs` from the code; a test holds this page and the code together.

A pipeline's YAML files are Dagster run configs: every key below stands under
`resources: {RESOURCE: {config: …}}`. Where one of several blocks is to be chosen, its name is a key
of its own: `provider: {voyage: {model: voyage-4-large}}`. A text may also come from the
environment: `{env: VARIABLE}`. A setting that is not named keeps its default; an unknown one is
refused with file and line. What providers of other packages take, they describe in the Launchpad.
"""

_ATTRIBUTE = re.compile(r"(?m)^    (\w+): (.*(?:\n {8,}.*)*)")
_BOUNDS = {
    "ge": "at least {}",
    "gt": "more than {}",
    "le": "at most {}",
    "lt": "less than {}",
    "max_length": "length at most {}",
    "pattern": "matches `{}`",
}
"""Attributes of pydantic's constraints; that a text is not empty goes without saying."""

_WORDS = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything"}


def settings_page() -> str:
    """The whole page."""
    parts = [HEAD, *_contents(), *_declaration()]
    for key, cls in RESOURCES.items():
        parts += _class(f"## `{key}`", cls)
    return "\n".join(parts).rstrip() + "\n"


def settings_names() -> frozenset[str]:
    """Every key that may stand in a resource's settings, however deep."""
    return frozenset(name for cls in RESOURCES.values() for name in _names(cls))


def declaration_fields() -> Mapping[str, str]:
    """What `EmbeddingPipeline` takes, with its description."""
    doc = inspect.getdoc(EmbeddingPipeline) or ""
    attributes, *_ = doc.partition("Attributes:\n")[2].split("\n\n")
    return {name: " ".join(said.split()) for name, said in _ATTRIBUTE.findall(attributes)}


def undescribed() -> Iterator[str]:
    """Settings of which the Launchpad and the page would show nothing but the name."""
    for key, cls in RESOURCES.items():
        for path, info in _walk(cls, key):
            if not info.description:
                yield path


def _contents() -> Iterator[str]:
    yield "- [`EmbeddingPipeline`](#embeddingpipeline): the module that declares a pipeline"
    for key, cls in RESOURCES.items():
        yield f"- [`{key}`](#{key}): {_first_line(cls)}"
    yield ""


def _declaration() -> Iterator[str]:
    yield "## `EmbeddingPipeline`\n"
    yield "What a module in `pipelines/` declares; `from pipelines import EmbeddingPipeline`.\n"
    yield "| field | default | |\n| --- | --- | --- |"
    said = declaration_fields()
    for each in dataclasses.fields(EmbeddingPipeline):
        default = each.default
        if each.default_factory is not dataclasses.MISSING:
            default = each.default_factory()
        shown = "*required*" if default is dataclasses.MISSING else _code(_python(default))
        yield f"| `{each.name}` | {shown} | {_cell(said.get(each.name, ''))} |"
    yield ""


def _class(heading: str, cls: type[BaseModel]) -> Iterator[str]:
    """A class's settings as a table, and beneath it one for each block that it holds."""
    yield f"{heading}\n"
    if doc := _doc(cls):
        yield f"{doc}\n"
    fields = _fields(cls)
    if not fields:
        yield "It has no settings.\n"
        return
    yield "| setting | type | default | |\n| --- | --- | --- | --- |"
    for name, info in fields.items():
        about = _cell(info.description or "")
        yield f"| `{name}` | {_type(info)} | {_default(info)} | {about} |"
    yield ""
    level = heading.split()[0] + "#"
    title = heading.split(" ", 1)[1]
    for name, info in fields.items():
        for kind, block in _blocks(info).items():
            yield from _class(f"{level} {title[:-1]}: {name}{f' {kind}' if kind else ''}`", block)


def _walk(cls: type[BaseModel], path: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, info in _fields(cls).items():
        yield f"{path}.{name}", info
        for kind, block in _blocks(info).items():
            yield from _walk(block, f"{path}.{name}.{kind}" if kind else f"{path}.{name}")


def _names(cls: type[BaseModel]) -> Iterator[str]:
    for path, info in _walk(cls, ""):
        yield path.rsplit(".", 1)[-1]
        yield from filter(None, _blocks(info))


def _fields(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    """By their key in YAML; the tag of a union's variant is no setting."""
    return {info.alias or name: info for name, info in cls.model_fields.items() if name != "kind"}


def _blocks(info: FieldInfo) -> dict[str, type[BaseModel]]:
    """Settings classes that a setting holds, by the key that chooses each; empty for the only one.

    What other packages add is described by them.
    """
    classes = [kind for kind in _choices(info) if _is_settings(kind)]
    if not info.discriminator:
        return dict(zip([""], classes, strict=False))
    tag = str(info.discriminator)
    return {
        kind.model_fields[tag].default: kind
        for kind in classes
        if kind.__module__.startswith("resources.") and not getattr(kind, "unusable", "")
    }


def _choices(info: FieldInfo) -> tuple[Any, ...]:
    union = typing.get_origin(info.annotation) in (typing.Union, types.UnionType)
    return typing.get_args(info.annotation) if union else (info.annotation,)


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _type(info: FieldInfo) -> str:
    if info.discriminator:
        return "one of " + ", ".join(f"`{kind}`" for kind in _blocks(info))
    said = " or ".join("a block" if _is_settings(kind) else _word(kind) for kind in _choices(info))
    bounds = [
        words.format(getattr(constraint, name))
        for constraint in info.metadata
        for name, words in _BOUNDS.items()
        if getattr(constraint, name, None) is not None
    ]
    return _cell(", ".join([said, *bounds]))


def _word(kind: Any) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    if kind is type(None):
        return "null"
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Literal:
            return ", ".join(f"`{value}`" for value in arguments)
        case origin if origin is list:
            return f"list of {' or '.join(map(_word, arguments))}"
        case origin if origin is dict:
            return "mapping"
        case origin if origin in (typing.Union, types.UnionType):
            return " or ".join(map(_word, arguments))
    raise TypeError(f"settings.py has no word for {kind!r}: give it one")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "*required*"
    default = info.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "*required*"
    if isinstance(default, BaseModel):
        return _code(getattr(default, "kind", "{}"))
    return _code(_plain(default))


def _python(value: Any) -> str:
    return value.value if isinstance(value, Enum) else repr(value)


def _plain(value: Any) -> str:
    if isinstance(value, dg.EnvVar):
        return f"{{env: {value.env_var_name}}}"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    """One line, in which nothing ends the cell or is taken for HTML; code stays as it is."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()).replace("|", "\\|"))
    return "".join(
        part if part.startswith("`") else part.replace("<", "&lt;").replace("**/", "\\*\\*/")
        for part in parts
    )


def _doc(cls: type[BaseModel]) -> str:
    return inspect.cleandoc(vars(cls).get("__doc__") or "")  # not a base's


def _first_line(cls: type[BaseModel]) -> str:
    line = _doc(cls).split("\n\n")[0].replace("\n", " ").rstrip(".")
    return line[:1].lower() + line[1:]
