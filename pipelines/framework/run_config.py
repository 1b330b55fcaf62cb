"""YAML run configs: read, merge, check, and make them the defaults of resources.

The files are literal Dagster run configs (`resources: {embedder: {config: …}}`). A pipeline's own
files become the *class* defaults of generated subclasses of its resources, because Dagster fills
whatever a run config leaves out from the class, not from the instance it was given
(dagster-io/dagster#12898). So overriding one key of a run keeps all the others.
"""

import copy
import functools
import pickle
import threading
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import dagster as dg
import yaml
from dagster import ConfigurableResource
from pydantic import BaseModel, TypeAdapter, ValidationError, create_model
from pydantic.fields import FieldInfo

from resources.core.credentials import hidden, in_clear, secret_name, way_out
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT, find_project

CONFIGS = CODE_ROOT / "configs"
"""Fragments that come with this code, for projects that have none of their own by that name."""

DEFINED = (
    "name", "configs", "schedule", "timezone", "schedule_status", "schedule_configs",
    "automation_condition", "keep_runs_days", "owners", "tags", "deps", "evaluation_schedule",
    "shards", "on_change",
)  # fmt: skip
"""What only a pipeline's module can say."""

M = TypeVar("M", bound=BaseModel)
Path_ = tuple[Any, ...]
"""Keys of a run config, from the outermost on."""

Said = Callable[[str | Path, Path_, Any, Any], None]
"""Told of every choice of a file: where it stands, what earlier files chose, None if nothing, and
what is chosen now."""


class _Misfit(Exception):
    """What does not fit, the keys that lead there, and of a mapping the one that is too many."""

    def __init__(self, path: Path_, sentence: str, *key: Any) -> None:
        self.path, self.sentence, self.key = path, hidden(sentence), key
        super().__init__(self.sentence)


def read_run_config(path: str | Path) -> dict[str, Any]:
    """One file.

    Args:
        path: As given, or relative to `configs/` of the project, else of ours.

    Raises:
        ConfigurationError: It is missing, no YAML, or no run config.
    """
    try:
        content = copy.deepcopy(_parsed(text_of(path)))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        at = getattr(error, "problem_mark", None)
        line = f", line {at.line + 1}" if at else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(f"{path}{line}: this is not YAML: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: a run config is a mapping that starts with `resources:`")
    return content


def resource_values(
    files: Sequence[str | Path],
    classes: Mapping[str, type[ConfigurableResource]],
    said: Said = lambda file, path, old, new: None,
) -> dict[str, dict[str, Any]]:
    """Merge run config files into the settings of each resource; a later file wins.

    Raises:
        ConfigurationError: An unknown key or a value of a wrong type, with its file and path.
    """
    merged: dict[str, dict[str, Any]] = {key: {} for key in classes}
    for file in files:
        content = read_run_config(file)
        try:
            _nothing_in_clear(content)
            for key, values in _settings(content, classes).items():
                told = functools.partial(said, file)
                merged[key] = _merge_settings(classes[key], merged[key], values, (key,), told)
        except _Misfit as misfit:
            line = _line(text_of(file), (*misfit.path, *misfit.key))
            where = f"{file}, line {line}" if line else str(file)
            at = ".".join(map(str, misfit.path))
            sentence = f"{at}: {misfit.sentence}" if at else misfit.sentence
            raise ConfigurationError(f"{where}: {sentence}") from misfit
    return merged


def _settings(
    content: Mapping[str, Any], classes: Mapping[str, type[ConfigurableResource]]
) -> dict[str, dict[str, Any]]:
    """The settings of each resource that a run config names, checked."""
    for key in content:
        if key in DEFINED:
            raise _Misfit(
                (),
                f"`{key}` shapes the definitions, which are there before any run config is read: "
                "give it to EmbeddingPipeline(…) in the pipeline's module",
                key,
            )
        if key in classes:
            raise _Misfit(
                (),
                f"`{key}` belongs under `resources:`, as `resources: {{{key}: {{config: …}}}}`",
                key,
            )
    _only(content, {"resources", "execution", "loggers", "ops"}, ())
    resources = content.get("resources") or {}
    _mapping(resources, ("resources",))
    _only(resources, set(classes), ("resources",))
    found: dict[str, dict[str, Any]] = {}
    for key, entry in resources.items():
        _mapping(entry, ("resources", key))
        _only(entry, {"config"}, ("resources", key))
        found[key] = entry.get("config") or {}
        _check(classes[key], found[key], ("resources", key, "config"))
    return found


def _nothing_in_clear(content: Mapping[str, Any]) -> None:
    for path, what in in_clear(content):
        raise _Misfit(path, f"{what}: {way_out(path)}")


def _line(text: str, path: Path_) -> int | None:
    """The line of a key, or of the nearest one above it; lists have their positions as keys."""
    node, line = yaml.compose(text), None
    for key in path:
        below = None
        if isinstance(node, yaml.MappingNode):
            pairs = ((name, value) for name, value in node.value if name.value == str(key))
            name, below = next(pairs, (None, None))
            line = name.start_mark.line + 1 if name else line
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
            below = node.value[key]
            line = below.start_mark.line + 1
        node = below
    return line


def text_of(path: str | Path) -> str:
    """What stands in a run config: a path as given, or relative to `configs/`.

    Raises:
        ConfigurationError: It is missing, or nothing to read.
    """
    root = find_project()
    own = root / "configs" if root else CONFIGS
    file = next((at for folder in (Path(), own, CONFIGS) if (at := folder / path).exists()), None)
    if file is None:
        raise ConfigurationError(f"there is no run config {path}, neither here nor in {own}")
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:  # a folder, or somebody else's
        raise ConfigurationError(
            f"the run config {path} cannot be read: {error.strerror or error}"
        ) from error


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge as Dagster's own of several `-c` files: mappings merge, all else is replaced."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merge(old, value)
        else:
            result[key] = value
    return result


def _merge_settings(
    cls: type[BaseModel],
    base: Mapping[str, Any],
    over: Mapping[str, Any],
    path: Path_,
    said: Callable[[Path_, Any, Any], None],
) -> dict[str, Any]:
    """Settings of one class over others, as a run gets them from class defaults.

    Only settings classes merge: another variant of a union replaces the one before, and so does
    any other value, a mapping too.
    """
    result = dict(base)
    for name, value in over.items():
        info, old, at = _fields(cls)[name], base.get(name), (*path, name)
        if info.discriminator and old is not None and set(old) == set(value):
            ((kind, settings),) = value.items()
            variant = _variants(info)[kind]
            below, over_it = old[kind] or {}, settings or {}
            result[name] = {kind: _merge_settings(variant, below, over_it, (*at, kind), said)}
        elif (block := _block(info)) and isinstance(old, Mapping) and isinstance(value, Mapping):
            result[name] = _merge_settings(block, old, value, at, said)
        else:
            said(at, old, value)
            result[name] = value
    return result


def with_defaults(cls: type[M], values: Mapping[str, Any]) -> type[M]:
    """A subclass whose defaults are the given values, in run config form.

    A union, which Dagster shows as a selector with one key per variant, gets the chosen variant
    as its default, and within it the given values as that variant's defaults.
    """
    fields: dict[str, Any] = {}
    attributes = {info.alias or name: name for name, info in cls.model_fields.items()}
    for name, value in values.items():
        info = copy.copy(_fields(cls)[name])
        if info.discriminator:
            info.annotation, info.default = _union_default(info, value)
        elif (block := _block(info)) and isinstance(value, Mapping):
            own = with_defaults(block, value)
            info.annotation = own if info.annotation is block else own | None
            # Dagster's schema takes the default as it would stand in a run config; pydantic makes
            # it an object where a resource is made without Dagster.
            info.default, info.validate_default = dict(value), True
        else:
            info.default = _default(value)
        fields[attributes[name]] = (info.annotation, info)
    return create_model(
        cls.__name__, __base__=cls, __module__=cls.__module__, __doc__=cls.__doc__, **fields
    )


def _union_default(info: FieldInfo, value: Mapping[str, Any]) -> tuple[Any, Any]:
    ((kind, settings),) = value.items()
    variants = {name: variant for name, variant in _variants(info).items()}
    variants[kind] = with_defaults(variants[kind], settings or {})
    return Union[tuple(variants.values())], variants[kind]()  # noqa: UP007  (from a tuple)


def _default(value: Any) -> Any:
    return dg.EnvVar(value["env"]) if _is_env(value) else value


def _is_env(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"env"}


def _fields(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    """Settings by their key in YAML."""
    return {info.alias or name: info for name, info in cls.model_fields.items()}


def _block(info: FieldInfo) -> type[BaseModel] | None:
    """The settings class of a block within a resource, which may be left out."""
    choices = [kind for kind in typing.get_args(info.annotation) if kind is not type(None)]
    kind = choices[0] if len(choices) == 1 else info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _variants(info: FieldInfo) -> dict[str, type[BaseModel]]:
    """Variants of a discriminated union by the key that selects them."""
    name = str(info.discriminator)
    return {
        variant.model_fields[name].default: variant for variant in typing.get_args(info.annotation)
    }


def _check(cls: type[BaseModel], values: Any, path: Path_) -> None:
    """Check a partial configuration: known keys, right types, one variant of a union."""
    _mapping(values, path)
    if reason := getattr(cls, "unusable", ""):
        raise _Misfit(path, reason)
    union_tags = {"kind"} if "kind" in cls.model_fields else set()
    _only(values, set(_fields(cls)) - union_tags, path)
    plain = {}
    for name, value in values.items():
        info, at = _fields(cls)[name], (*path, name)
        if info.discriminator:
            variants = _variants(info)
            _mapping(value, at)
            _only(value, set(variants), at)
            if len(value) != 1:
                raise _Misfit(at, f"choose exactly one of {', '.join(variants)}, not {len(value)}")
            ((kind, settings),) = value.items()
            _check(variants[kind], settings or {}, (*at, kind))
        elif (block := _block(info)) and value is not None:
            _check(block, value, at)
        elif _is_env(value):
            if info.annotation not in (str, str | None):
                raise _Misfit(at, "only a text can come from an environment variable")
        else:
            _check_value(cls, name, value, at)
            plain[name] = value
    # The class's own validators; what another file will give is no concern here. Most classes have
    # none, and to make a resource takes Dagster milliseconds.
    own = cls.__pydantic_decorators__
    if not (own.field_validators or own.model_validators):
        return
    try:
        cls(**plain)
    except ValidationError as error:
        for problem in error.errors():
            if not problem["loc"] or problem["loc"][0] in plain:
                raise _Misfit((*path, *problem["loc"]), _sentence(problem)) from error


@functools.cache
def _adapter(cls: type[BaseModel], name: str) -> TypeAdapter:
    info = _fields(cls)[name]
    annotation: Any = info.annotation
    if info.metadata:  # the constraints, such as `ge`
        annotation = typing.Annotated[(annotation, *info.metadata)]
    return TypeAdapter(annotation)


def _check_value(cls: type[BaseModel], name: str, value: Any, path: Path_) -> None:
    # Strict, because Dagster's own schema is: "50" is no number.
    try:
        _adapter(cls, name).validate_python(value, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        at = (*path, *problem["loc"])
        what = "what is here" if secret_name(name) else repr(value)
        raise _Misfit(at, f"{_sentence(problem)}, not {what}") from None


def _sentence(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _mapping(value: Any, path: Path_) -> None:
    if not isinstance(value, Mapping):
        raise _Misfit(path, f"a mapping belongs here, not {value!r}")


def _only(value: Mapping[Any, Any], allowed: set[str], path: Path_) -> None:
    unknown = [key for key in value if key not in allowed]
    if unknown:
        listed = ", ".join(sorted(allowed))
        raise _Misfit(path, f"unknown key {unknown[0]!r}; allowed: {listed}", unknown[0])


@functools.lru_cache(maxsize=200)
def _parsed(text: str) -> Any:
    """What stands in a file: several look at the same ones while a pipeline is loaded."""
    return yaml.safe_load(text)


@functools.lru_cache(maxsize=1_000)
def _resource(cls: type[ConfigurableResource], pickled: bytes) -> ConfigurableResource:
    # Pipelines of one location mostly share their deployment, model and batch store; each resource
    # that need not be made saves some 10 ms of Dagster's inferring its schema.
    with _one_at_a_time:
        return with_defaults(cls, pickle.loads(pickled))()


_one_at_a_time = threading.Lock()
"""Classes are made from shared ones, whose schemas Pydantic builds when they are asked for."""


def build_resources(
    values: Mapping[str, Mapping[str, Any]], classes: Mapping[str, type[ConfigurableResource]]
) -> dict[str, ConfigurableResource]:
    """Resources whose class defaults are the given values.

    Raises:
        ConfigurationError: Settings of one resource that contradict each other.
    """
    resources = {}
    for key, cls in classes.items():
        try:
            resources[key] = _resource(cls, pickle.dumps(values[key]))
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(str(part) for part in first["loc"])
            raise ConfigurationError(f"resources.{key}.config.{at}: {_sentence(first)}") from error
    return resources
