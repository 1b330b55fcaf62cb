"""The kinds of providers there are: those that come with the project, and those of other packages.

A package adds one by an entry point of the group `GROUP`: its name is the kind, as it stands in
YAML, and its value a `resources.embedders.provider.Provider`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

GROUP = "mongodb_embedding_pipelines.providers"
BUILT_IN = ("voyage", "openai", "sentence_transformers")

_KIND = re.compile(r"[a-z][a-z0-9_]*")


@cache
def claims() -> Mapping[str, Sequence[EntryPoint]]:
    """Entry points by the kind that they claim, one for every package that claims it."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, package(entry))):
        if _KIND.fullmatch(entry.name):  # nothing else can be a key in Dagster's config
            # A package that lies twice on the path is the one that is imported: the first.
            found.setdefault(entry.name, {}).setdefault(package(entry), entry)
    return MappingProxyType({kind: tuple(by.values()) for kind, by in found.items()})


def kinds() -> tuple[str, ...]:
    """All of them, those that come with the project first; nothing is imported."""
    return (*BUILT_IN, *(kind for kind in claims() if kind not in BUILT_IN))


def package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
