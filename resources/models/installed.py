"""Classes of one place in the YAML: ours, and those that other packages add by an entry point.

One that cannot be used is still a kind, so that whoever chooses it is told why, and whoever does
not is not bothered. Our own kinds are ours: a package that claims one is not asked for it.
"""

import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, Literal, NoReturn, TypeVar, cast, get_args

from pydantic import ConfigDict, create_model

from resources.core.config import StrictConfig
from resources.core.errors import ConfigurationError
from resources.models.kinds import Kinds, package

C = TypeVar("C", bound=StrictConfig)


class Unusable(StrictConfig):
    """Stands for a class of another package; takes any settings, and says why it is none."""

    model_config = ConfigDict(extra="allow")

    unusable: ClassVar[str] = ""

    def refuse(self) -> NoReturn:
        raise ConfigurationError(self.unusable)


def installed(
    kinds: Kinds, own: Sequence[type[C]], base: type[C], stand_in: type[C]
) -> Mapping[str, type[C]]:
    """Classes by the key that chooses them in YAML.

    Args:
        kinds: Of this place.
        own: That come with the project.
        base: Of all of them.
        stand_in: Of that base and `Unusable` (in this order: the latter takes any settings), for
            those that cannot be used.
    """
    found: dict[str, type[C]] = {cls.model_fields["kind"].default: cls for cls in own}
    for kind, entries in kinds.claims().items():
        if kind not in found:
            try:
                found[kind] = _loaded(kinds.what, kind, entries, base)
            except ConfigurationError as error:
                found[kind] = _unusable(kind, str(error), stand_in)
    return found


def refusals(kinds: Kinds, found: Mapping[str, type[StrictConfig]]) -> Mapping[str, str]:
    """Why a kind that another package claims cannot be had from it.

    Args:
        kinds: Of this place.
        found: What `installed` gave for it.
    """
    reasons = {kind: cls.unusable for kind, cls in found.items() if issubclass(cls, Unusable)}
    for kind in set(kinds.claims()) & set(kinds.built_in):
        names = " and ".join(map(package, kinds.claims()[kind]))
        reasons[kind] = (
            f"{kinds.what} {kind!r} comes with the project: the one of package {names} is not "
            "used, it needs a kind of its own"
        )
    return reasons


def _unusable(kind: str, reason: str, stand_in: type[C]) -> type[C]:
    made: Any = create_model(
        stand_in.__name__,
        __base__=stand_in,
        __doc__=f"Cannot be chosen: {reason}.",
        kind=(cast(Any, Literal)[kind], kind),
    )
    made.unusable = reason
    return made


def _loaded(what: str, kind: str, entries: Sequence[EntryPoint], base: type[C]) -> type[C]:
    if len(entries) > 1:
        names = " and ".join(map(package, entries))
        raise ConfigurationError(
            f"{what} {kind!r} is claimed by the packages {names}: uninstall all but one"
        )
    (entry,) = entries
    where = f"{what} {kind!r} of package {package(entry)} ({entry.value})"
    try:
        cls = entry.load()
    except Exception as error:  # whatever importing another's module comes to
        raise ConfigurationError(
            f"{where} cannot be imported: {type(error).__name__}: {error}; repair that package or "
            "uninstall it"
        ) from error
    fault = _fault(kind, cls, base)
    if fault:
        raise ConfigurationError(f"{where} {fault}: repair that package or uninstall it")
    return cls


def _fault(kind: str, cls: Any, base: type[StrictConfig]) -> str:
    """What is wrong with a class, which would else break every pipeline; empty for nothing."""
    if not (inspect.isclass(cls) and issubclass(cls, base)):
        return f"is not a {base.__module__}.{base.__qualname__}"
    lacking: Any = getattr(cls, "__abstractmethods__", ())
    if lacking:
        return f"lacks {', '.join(sorted(lacking))}"
    field = cls.model_fields.get("kind")
    if field is None or get_args(field.annotation) != (kind,) or field.default != kind:
        return f"""has no field `kind: Literal["{kind}"] = "{kind}"`"""
    try:
        cls.to_config_schema()
    except Exception as error:  # Dagster and pydantic each raise their own
        first, *_ = str(error).strip().splitlines() or [type(error).__name__]
        return f"has settings that Dagster cannot show ({first})"
    return ""
