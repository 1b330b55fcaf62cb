"""The kinds of providers there are: those that come with the project, and those of other packages.

A package adds one by an entry point: its name is the kind, as it stands in YAML, and its value the
class of its settings, of the base that `resources.embedders.provider` or
`resources.rerankers.provider` has.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

_KIND = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Kinds:
    """What can stand in one place of the YAML.

    Attributes:
        group: Of the entry points.
        what: A word for one of them.
        built_in: Those that come with the project.
    """

    group: str
    what: str
    built_in: tuple[str, ...]

    def claims(self) -> Mapping[str, Sequence[EntryPoint]]:
        """Entry points by the kind that they claim, one for every package that claims it."""
        return _claims(self.group)

    def all(self) -> tuple[str, ...]:
        """Those that come with the project first; nothing is imported."""
        others = (kind for kind in self.claims() if kind not in self.built_in)
        return (*self.built_in, *others)


EMBEDDERS = Kinds(
    "mongodb_embedding_pipelines.providers",
    "provider",
    ("voyage", "openai", "sentence_transformers"),
)
RERANKERS = Kinds(
    "mongodb_embedding_pipelines.rerankers",
    "reranker",
    ("none", "sentence_transformers", "voyage", "mongodb"),
)


def kinds() -> tuple[str, ...]:
    """All that have models of their own, so that the catalogue may know these."""
    rerankers = (kind for kind in RERANKERS.claims() if kind not in RERANKERS.built_in)
    return tuple(dict.fromkeys([*EMBEDDERS.all(), *rerankers]))


@cache
def _claims(group: str) -> Mapping[str, Sequence[EntryPoint]]:
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, package(entry))):
        if _KIND.fullmatch(entry.name):  # nothing else can be a key in Dagster's config
            # A package that lies twice on the path is the one that is imported: the first.
            found.setdefault(entry.name, {}).setdefault(package(entry), entry)
    return MappingProxyType({kind: tuple(by.values()) for kind, by in found.items()})


def package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module
