"""What is known of embedding and reranking models: limits, prices, prompts, lifecycle, as data.

`configs/models.yaml` comes with this code; a file of the user's own, named by the environment
variable `EMBEDDINGS_MODELS`, adds models and overrides single keys.
"""

import functools
import os
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT, input_path
from resources.models.kinds import kinds

VARIABLE = "EMBEDDINGS_MODELS"
PACKAGED = CODE_ROOT / "configs" / "models.yaml"

Task = Literal["embed", "rerank"]
Status = Literal["active", "legacy", "deprecated", "retired"]
STATUSES: tuple[Status, ...] = get_args(Status)

# A figure belongs to its date and source: one that replaces it does not inherit them.
_FIGURES = {"price": "usd_per_million", "score": "value"}


def _iso(value: Any) -> Any:
    # An unquoted YAML date arrives as a date, not as text.
    return value.isoformat() if isinstance(value, date) else value


Positive = Annotated[int, Field(ge=1)]
Day = Annotated[str, BeforeValidator(_iso), Field(pattern=r"^\d{4}-\d\d-\d\d$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Price(_Strict):
    usd_per_million: float = Field(ge=0, allow_inf_nan=False)
    date: Annotated[str, BeforeValidator(_iso), Field(pattern=r"^\d{4}-\d\d(-\d\d)?$")]
    source: str | None = None


class Prompts(_Strict):
    document: str = ""
    query: str = ""


class RateLimits(_Strict):
    """Per minute, in the provider's first tier."""

    rpm: Positive
    tpm: Positive


class Size(_Strict):
    parameters: Positive | None = None
    gigabytes: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class Score(_Strict):
    benchmark: str
    value: float = Field(allow_inf_nan=False)
    source: str


class ModelEntry(_Strict):
    """One model; None and absent mean not known, never zero.

    Attributes:
        space: The family whose members share one embedding space; the model itself by default.
        task: What it does with texts: makes vectors of them, or scores them against a query.
        dimensions: Widths on offer, the default first; none of a model that reranks.
        shrinkable: Every width below the default can be asked for as well.
        local: Runs on this machine and costs nothing per token.
        status: As its source has it: see `state`.
        deprecated: The day from which on its maker advises against any use.
        retired: The day from which on it is switched off.
    """

    provider: str
    model: str = Field(min_length=1)
    space: str = Field(min_length=1)
    task: Task = "embed"
    dimensions: list[Positive] = []
    shrinkable: bool = False
    max_tokens: Positive | None = None
    max_texts: Positive | None = None
    max_request_tokens: Positive | None = None
    price: Price | None = None
    free_tokens: int | None = Field(default=None, ge=0)
    rate_limits: RateLimits | None = None
    prompts: Prompts | None = None
    prompts_required: bool = False
    trust_remote_code: bool = False
    local: bool = False
    size: Size | None = None
    score: Score | None = None
    status: Status = "active"
    deprecated: Day | None = None
    retired: Day | None = None
    successor: str | None = None
    sources: list[str] = []

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "ModelEntry":
        if self.task == "embed" and not self.dimensions:
            named = "dimensions" in self.model_fields_set
            raise ValueError(
                "dimensions: name one width at least" if named else "dimensions is missing"
            )
        if self.task == "rerank" and (self.dimensions or self.prompts):
            raise ValueError("`task: rerank` has neither `dimensions` nor `prompts`")
        if len(set(self.dimensions)) < len(self.dimensions):
            raise ValueError(f"`dimensions` names a width twice: {self.dimensions}")
        if self.prompts_required and self.prompts is None:
            raise ValueError("`prompts_required` needs `prompts`")
        if self.provider == "sentence_transformers" and not self.local:
            raise ValueError("`local` is always true for sentence_transformers")
        return self

    @property
    def key(self) -> str:
        return f"{self.provider}/{self.model}"

    def state(self, today: date | None = None) -> Status:
        """Its status on a day, by the dates that its maker has announced; default: today."""
        day = (today or date.today()).isoformat()
        if self.status == "retired" or (self.retired and self.retired <= day):
            return "retired"
        return "deprecated" if self.deprecated and self.deprecated <= day else self.status

    @property
    def usd_per_million(self) -> float | None:
        """The list price; nothing for a local model, None where it is not known."""
        if self.local:
            return 0.0
        return self.price.usd_per_million if self.price else None


Catalogue = Mapping[tuple[str, str], ModelEntry]


def load_catalogue(extra: Path | None = None) -> Catalogue:
    """All models by provider and model, in the order of their files.

    Args:
        extra: The user's own file; default: the one that `EMBEDDINGS_MODELS` names, if any.

    Raises:
        ConfigurationError: A file is missing or wrong, with its file, entry and key.
    """
    named = str(extra) if extra is not None else os.environ.get(VARIABLE)
    if not named:
        return _packaged()
    path = Path(input_path(named))
    try:
        stat = path.stat()
    except OSError as error:
        said = f"{VARIABLE} names {named}" if extra is None else f"the models file is {named}"
        raise ConfigurationError(f"{said}, and there is no file {path}") from error
    return _with_own(path, stat.st_mtime_ns, stat.st_size)


def find(provider: str, model: str, task: Task = "embed") -> ModelEntry | None:
    """The entry of a model that does this; None where it is not known, or does something else."""
    entry = load_catalogue().get((provider, model))
    return entry if entry and entry.task == task else None


def check_task(provider: str, model: str, task: Task) -> None:
    """Refuse a model that is known to do something else.

    Raises:
        ConfigurationError: It does.
    """
    entry = load_catalogue().get((provider, model))
    if entry and entry.task != task:
        raise ConfigurationError(
            f"{model} {entry.task}s, and does not {task}: choose another `model`, see "
            f"`embeddings models{' --rerank' if task == 'rerank' else ''}`"
        )


def family(provider: str, model: str) -> str:
    """The space that the model's vectors lie in; an unknown model is a space of its own."""
    entry = find(provider, model)
    return entry.space if entry else model


def members(provider: str, space: str) -> list[str]:
    """Models whose vectors lie in one space."""
    return [
        entry.model
        for entry in load_catalogue().values()
        if (entry.provider, entry.space, entry.task) == (provider, space, "embed")
    ]


def cost_usd(provider: str, model: str, tokens: int) -> float | None:
    """List price of so many tokens, free ones not deducted; None where no price is known."""
    price = usd_per_million(provider, model)
    return None if price is None else price * tokens / 1_000_000


def usd_per_million(provider: str, model: str, task: Task = "embed") -> float | None:
    """List price of a million tokens; None where it is not known."""
    if provider == "sentence_transformers":
        return 0.0
    entry = find(provider, model, task)
    return entry.usd_per_million if entry else None


@functools.cache
def _packaged() -> Catalogue:
    return _checked(_read(PACKAGED), PACKAGED)


@functools.lru_cache(maxsize=8)
def _with_own(path: Path, _mtime: int, _size: int) -> Catalogue:
    # By time and size of the file, so that an edited one is read again.
    raw, own = _read(PACKAGED), _read(path)
    merged = {key: _merge(raw.get(key, {}), entry) for key, entry in own.items()}
    return MappingProxyType({**_packaged(), **_checked(merged, path)})


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Entries of one file by `provider/model`, not checked yet beyond being mappings."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        at = getattr(error, "problem_mark", None)
        line = f", line {at.line + 1}" if at else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigurationError(f"{path}{line}: this is not YAML: {problem}") from error
    content = {} if content is None else content
    if not isinstance(content, dict) or set(content) - {"models"}:
        raise ConfigurationError(
            f"{path}: a models file has one key, `models:`, with entries named provider/model"
        )
    entries = content.get("models") or {}
    if not isinstance(entries, dict):
        raise ConfigurationError(f"{path}: models: a mapping belongs here, not {entries!r}")
    for key, entry in entries.items():
        provider, _, model = str(key).partition("/")
        if provider not in kinds() or not model:
            raise ConfigurationError(
                f"{path}: {key}: an entry is named provider/model, its provider one of "
                f"{', '.join(kinds())}"
            )
        if not isinstance(entry, dict):
            raise ConfigurationError(f"{path}: {key}: a mapping belongs here, not {entry!r}")
    return entries


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge: mappings merge, all else is replaced, null takes a key away."""
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = dict(value) if _FIGURES.get(key) in value else _merge(old, value)
        else:
            result[key] = value
    return result


def _checked(entries: Mapping[str, Mapping[str, Any]], path: Path) -> Catalogue:
    found = {}
    for key, values in entries.items():
        provider, _, model = key.partition("/")
        if named := sorted({"provider", "model"} & set(values)):
            raise ConfigurationError(
                f"{path}: {key}: {named[0]}: the entry's name says this already, remove the key"
            )
        implied = {"provider": provider, "model": model}
        defaults = {"space": model, "local": provider == "sentence_transformers"}
        try:
            found[provider, model] = ModelEntry.model_validate(defaults | dict(values) | implied)
        except ValidationError as error:
            raise ConfigurationError(f"{path}: {key}: {_sentence(error)}") from error
    return MappingProxyType(found)


def _sentence(error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such key; the head of {PACKAGED} lists them all"
    if problem["type"] == "model_type":
        return f"{where}: a mapping belongs here, not {problem['input']!r}"
    text = message[:1].lower() + message[1:]
    return f"{where}: {text}, not {problem['input']!r}" if where else text
