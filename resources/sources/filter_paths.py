"""Which fields a MongoDB query looks at."""

from collections.abc import Mapping
from typing import Any

from resources.sources.fields import overlap


def paths_of(query: Any) -> set[str]:
    """Every field path that a query mentions, however deep."""
    found: set[str] = set()
    if isinstance(query, Mapping):
        for name, value in query.items():
            if not str(name).startswith("$"):
                found.add(name)
            found |= paths_of(value)
    elif isinstance(query, list | tuple):
        for value in query:
            found |= paths_of(value)
    elif isinstance(query, str) and query.startswith("$"):
        found.add(query.lstrip("$"))
    return found


def depends_on(query: Mapping[str, Any], path: str) -> bool:
    """Whether a query's answer changes with what is at a path."""
    return any(overlap(path, name) for name in paths_of(query))
