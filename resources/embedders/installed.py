"""The providers of this installation: ours, and those that other packages add.

One that cannot be used is still a kind, so that whoever chooses it is told why, and whoever does
not is not bothered. Our own kinds are ours: a package that claims one is not asked for it.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Literal, NoReturn, cast, get_args

from pydantic import ConfigDict, create_model

from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace
from resources.embedders.base import Embedder
from resources.embedders.batch.jobs import Jobs
from resources.embedders.facts import Facts
from resources.embedders.journal import Journal
from resources.embedders.openai import OpenAIProvider
from resources.embedders.provider import Provider
from resources.embedders.sentence_transformers import SentenceTransformersProvider
from resources.embedders.voyage import VoyageProvider
from resources.models.kinds import BUILT_IN, claims, package


class UnusableProvider(Provider):
    """Stands for a provider of another package; takes any settings, and says why it is none."""

    model_config = ConfigDict(extra="allow")

    unusable: ClassVar[str] = ""

    def _refuse(self) -> NoReturn:
        raise ConfigurationError(self.unusable)

    def space(self) -> EmbeddingSpace:
        self._refuse()

    def facts(self) -> Facts:
        self._refuse()

    def open(
        self,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> Embedder:
        self._refuse()


@cache
def providers() -> Mapping[str, type[Provider]]:
    """By the key that chooses them in YAML."""
    own = (SentenceTransformersProvider, VoyageProvider, OpenAIProvider)
    found: dict[str, type[Provider]] = {cls.model_fields["kind"].default: cls for cls in own}
    for kind, entries in claims().items():
        if kind not in found:
            try:
                found[kind] = _loaded(kind, entries)
            except ConfigurationError as error:
                found[kind] = _unusable(kind, str(error))
    return found


def refusals() -> Mapping[str, str]:
    """Why a kind that another package claims cannot be had from it."""
    reasons = {kind: cls.unusable for kind, cls in providers().items() if _is_unusable(cls)}
    for kind in set(claims()) & set(BUILT_IN):
        names = " and ".join(map(package, claims()[kind]))
        reasons[kind] = (
            f"provider {kind!r} comes with the project: the one of package {names} is not used, "
            "it needs a kind of its own"
        )
    return reasons


def _is_unusable(cls: type[Provider]) -> Any:
    return issubclass(cls, UnusableProvider)


def _unusable(kind: str, reason: str) -> type[Provider]:
    made = create_model(
        "UnusableProvider",
        __base__=UnusableProvider,
        __doc__=f"Cannot be chosen: {reason}.",
        kind=(cast(Any, Literal)[kind], kind),
    )
    made.unusable = reason
    return made


def _loaded(kind: str, entries: Sequence[EntryPoint]) -> type[Provider]:
    if len(entries) > 1:
        names = " and ".join(map(package, entries))
        raise ConfigurationError(
            f"provider {kind!r} is claimed by the packages {names}: uninstall all but one"
        )
    (entry,) = entries
    where = f"provider {kind!r} of package {package(entry)} ({entry.value})"
    try:
        cls = entry.load()
    except Exception as error:  # whatever importing another's module comes to
        raise ConfigurationError(
            f"{where} cannot be imported: {type(error).__name__}: {error}; repair that package or "
            "uninstall it"
        ) from error
    fault = _fault(kind, cls)
    if fault:
        raise ConfigurationError(f"{where} {fault}: repair that package or uninstall it")
    return cls


def _fault(kind: str, cls: Any) -> str:
    """What is wrong with a class, which would else break every pipeline; empty for nothing."""
    if not (inspect.isclass(cls) and issubclass(cls, Provider)):
        return "is not a resources.embedders.provider.Provider"
    if cls.__abstractmethods__:
        return f"lacks {', '.join(sorted(cls.__abstractmethods__))}"
    field = cls.model_fields.get("kind")
    if field is None or get_args(field.annotation) != (kind,) or field.default != kind:
        return f"""has no field `kind: Literal["{kind}"] = "{kind}"`"""
    try:
        cls.to_config_schema()
    except Exception as error:  # Dagster and pydantic each raise their own
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        return f"has settings that Dagster cannot show ({first})"
    return ""
