"""Dotted paths into a record: `address.country`."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

MISSING: Final = object()


def check_path(path: str, setting: str) -> str:
    """Raises ValueError unless `path` is one field name or several, joined with dots."""
    parts = path.split(".")
    if not path.strip() or not all(part.strip() for part in parts):
        raise ValueError(f"{setting}: {path!r} is no field name, as title or address.country are")
    if any(part.startswith("$") for part in parts):
        raise ValueError(f"{setting}: {path!r} holds an operator: write a plain field name")
    if re.search(r"[{}\[\]]", path):
        raise ValueError(f"{setting}: {path!r} holds brackets: write a plain, dotted field name")
    return path


def lookup(record: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path, or MISSING; a key that itself contains the dots wins.

    Lists are not entered: which of their elements would be meant is not for us to guess.
    """
    if path in record:
        return record[path]
    value: Any = record
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def store(record: dict[str, Any], path: str, value: Any) -> None:
    """Puts a value at a dotted path, so that a filter names it as the configuration does."""
    *parents, name = path.split(".")
    for parent in parents:
        record = record.setdefault(parent, {})
    record[name] = value


def without_nested(paths: Iterable[str]) -> list[str]:
    """The paths that no other path already includes: MongoDB refuses `a` next to `a.b`."""
    unique = dict.fromkeys(paths)
    return [path for path in unique if not any(inside(path, other) for other in unique)]


def inside(path: str, other: str) -> bool:
    return path.startswith(f"{other}.")


def overlap(path: str, other: str) -> bool:
    """Whether writing one changes what is read at the other."""
    return path == other or inside(path, other) or inside(other, path)
