"""The text to embed: one field of the record, or a template over several."""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from bson.decimal128 import Decimal128

from resources.sources.fields import MISSING, check_path, lookup
from resources.sources.rejection import BadRecord
from resources.sources.values import describe_type


@dataclass(frozen=True, slots=True)
class TextField:
    path: str
    join: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return (self.path,)

    def render(self, record: Mapping[str, Any]) -> str:
        value, what = lookup(record, self.path), f"text field {self.path!r}"
        if isinstance(value, list):
            value = _joined(value, what, self.join)
        return embeddable(value, what)


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """`{title}: {plot}`, as literal text alternating with field paths.

    The template is not given to `str.format`: that would reach into attributes of the values.
    """

    parts: tuple[tuple[str, str | None], ...]
    join: str | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(path for _, path in self.parts if path is not None))

    def render(self, record: Mapping[str, Any]) -> str:
        rendered = "".join(
            literal + ("" if path is None else self._inserted(lookup(record, path), path))
            for literal, path in self.parts
        )
        return embeddable(rendered, "the text that the template makes")

    def _inserted(self, value: Any, path: str) -> str:
        what = f"template field {path!r}"
        if isinstance(value, list):
            value = _joined(value, what, self.join)
        if isinstance(value, str):
            # The frame alone, "title: " without a title, would be embedded as a text.
            if not value.strip():
                blank = "only whitespace" if value else "empty"
                raise BadRecord(f"{what} is {blank}, which counts as missing")
            return value
        number = _number(value)
        if number is not None:
            return number
        found = describe_type(value)
        if value is not MISSING and value is not None:
            found += ", and a template takes text, numbers and true or false"
        raise BadRecord(f"{what} is {found}")


def _number(value: Any) -> str | None:
    match value:
        case bool():
            return "true" if value else "false"  # as the record spells it, not as Python does
        case int() | float() | Decimal() | Decimal128():
            return str(value)
    return None


def _joined(values: list[Any], what: str, join: str | None) -> str:
    """A list of texts as one text, with what the setting `join` says between them."""
    if join is None:
        raise BadRecord(
            f"{what} is a list, not text: where it holds texts, the setting join makes them one",
            found=values,
        )
    for position, value in enumerate(values):
        if not isinstance(value, str):
            found = f"{what} is a list whose element {position} is {describe_type(value)}, not text"
            raise BadRecord(found, found=values)
    # Separators alone are no text.
    return join.join(values) if any(value.strip() for value in values) else ""


def embeddable(text: Any, what: str) -> str:
    """The text itself; BadRecord if there is nothing in it to embed."""
    if text is MISSING:
        raise BadRecord(f"{what} is missing")
    if text is None:
        raise BadRecord(f"{what} is null")
    if not isinstance(text, str):
        raise BadRecord(f"{what} is {describe_type(text)}, not text", found=text)
    if not text:
        raise BadRecord(f"{what} is empty")
    if not text.strip():
        raise BadRecord(f"{what} is only whitespace", found=repr(text))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        reason = f"{what} is not valid UTF-8: it holds a lone surrogate"
        raise BadRecord(reason, found=text) from None
    return text


def parse_text(setting: str, join: str | None = None) -> TextField | TextTemplate:
    """What the setting `text` means; ValueError if it is neither a field nor a template."""
    if not setting.strip():
        raise ValueError("text is empty: name a field or write a template, as '{title}: {plot}'")
    if "{" not in setting and "}" not in setting:
        return TextField(check_path(setting, "text"), join)
    try:
        parsed = list(string.Formatter().parse(setting))
    except ValueError as error:
        raise ValueError(
            f"text: the template {setting!r} is malformed ({error}): write a literal brace twice"
        ) from None
    parts = tuple((literal, _plain(*field)) for literal, *field in parsed)
    if all(path is None for _, path in parts):
        raise ValueError(f"text: the template {setting!r} names no field: write one as '{{title}}'")
    return TextTemplate(parts, join)


def _plain(path: str | None, spec: str | None, conversion: str | None) -> str | None:
    if path is None:
        return None
    if spec or conversion:
        raise ValueError(
            f"text: '{{{path}}}' carries a format or conversion: a template takes only field names"
        )
    if re.search(r"(^|\.)__\w+__(\.|$)", path):
        raise ValueError(
            f"text: '{{{path}}}' reaches into Python: a template takes only field names"
        )
    return check_path(path, "text")
