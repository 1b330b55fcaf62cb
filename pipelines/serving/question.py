"""What may be asked over HTTP: a search's options, each with its bounds.

The bounds are narrower than a search's own: whoever asks is not whoever pays.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import bson
from bson import json_util
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json
from starlette.datastructures import QueryParams

from assets.work.searching.request import MAX_EXPANSION, Request
from resources.core.errors import QueryRefused
from resources.search_index.query import MAX_CANDIDATES, Mode

MAX_QUERY = 8_000
"""Characters."""
MAX_QUERIES = 32
"""In one request."""
MAX_VECTOR = 8_192
"""Values; MongoDB's own bound."""
MAX_LIMIT = 200
MAX_FILTER_DEPTH = 12
MAX_FILTER_PARTS = 1_000
"""Fields, operators and values of a filter, all counted."""
MAX_TEXT = 1_000_000

Text = Annotated[str, StringConstraints(max_length=MAX_QUERY)]
Vector = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(min_length=1, max_length=MAX_VECTOR, description="In the index's space."),
]
Weight = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]

_DEFAULTS = Request()
_LISTS = ("queries", "weights")


class Question(BaseModel):
    """One or several queries to a pipeline, and how to search."""

    model_config = ConfigDict(extra="forbid", title="Question")

    pipeline: str = Field(max_length=200, description="Name of the pipeline.")
    query: Text | Vector | None = Field(
        None,
        description="What to look for: a text, embedded as a query, or a vector in the index's "
        "space, as its provider returns it.",
    )
    queries: list[Text | Vector] | None = Field(
        None,
        min_length=1,
        max_length=MAX_QUERIES,
        description="Several, in place of `query`: embedded as one batch, and answered by one "
        "version of the index.",
    )
    limit: int = Field(_DEFAULTS.limit, ge=1, le=MAX_LIMIT, description="At most so many hits.")
    filter: dict[str, Any] | None = Field(
        None,
        description="MQL over the index's filter fields, as Extended JSON: "
        '`{"year": {"$gte": 2000}}`.',
    )
    exact: bool = Field(_DEFAULTS.exact, description="Compare with every vector.")
    num_candidates: int | None = Field(
        None,
        ge=1,
        le=MAX_CANDIDATES,
        description="How many candidates an approximate search considers.",
    )
    mode: Mode = Field(_DEFAULTS.mode, description="By vector, by words, or by both.")
    weights: tuple[Weight, Weight] = Field(
        _DEFAULTS.weights, description="Of vector and text in a hybrid search."
    )
    rank_constant: int = Field(
        _DEFAULTS.rank_constant, ge=0, le=100_000, description="Of reciprocal rank fusion."
    )
    group_by_source: bool = Field(
        _DEFAULTS.group_by_source, description="Only the best chunk of each source document."
    )
    expand: int = Field(
        _DEFAULTS.expand,
        ge=0,
        le=MAX_EXPANSION,
        description="Return the text around each hit, so many chunks on either side.",
    )
    diversity: float = Field(
        _DEFAULTS.diversity,
        ge=0,
        le=1,
        description="How much a hit that is like a better one loses (MMR).",
    )
    min_score: float | None = Field(
        None, allow_inf_nan=False, description="Leave out hits below this score."
    )
    rerank: bool = Field(
        _DEFAULTS.rerank,
        description="Whether the pipeline's reranker, if it has one, orders the hits anew.",
    )
    space: str | None = Field(
        None,
        max_length=200,
        description="Ask another space of the pipeline than the one that serves: its id, or how "
        "that begins.",
    )
    max_text: int | None = Field(
        None,
        ge=0,
        le=MAX_TEXT,
        description="Shorten texts to so many characters; by default they come whole.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "Question":
        if (self.query is None) == (self.queries is None):
            raise ValueError("give one of query and queries")
        return self

    @property
    def asked(self) -> list[str | list[float]]:
        if self.queries is not None:
            return list(self.queries)
        assert self.query is not None
        return [self.query]

    def options(self) -> dict[str, Any]:
        """Those that were given, for `Searcher.search_many`.

        Raises:
            QueryRefused: The filter is too large, or is no Extended JSON.
        """
        own = {"pipeline", "query", "queries", "max_text"}
        found = {name: getattr(self, name) for name in self.model_fields_set - own}
        if self.filter is not None:
            found["filter"] = _as_bson(self.filter)
        return found


def from_body(body: bytes) -> Question:
    """The question of a POST.

    Raises:
        QueryRefused: It is no JSON, or not what `Question` allows.
    """
    try:
        return Question.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise QueryRefused(_sentence(error)) from None


def from_parameters(parameters: QueryParams) -> Question:
    """The question of a GET: lists by naming a parameter several times, the filter as JSON.

    Raises:
        QueryRefused: As `from_body`.
    """
    values: dict[str, Any] = {}
    for name in parameters:
        given = parameters.getlist(name)
        if len(given) > 1 and name not in _LISTS:
            raise QueryRefused(f"{_short(name)} is given {len(given)} times: give it once")
        values[name] = given if name in _LISTS else given[0]
    if "filter" in values:
        try:
            values["filter"] = from_json(values["filter"])
        except ValueError:
            raise QueryRefused('filter is not JSON; write it as {"year": {"$gte": 2000}}') from None
    try:
        return Question.model_validate(values)
    except ValidationError as error:
        raise QueryRefused(_sentence(error)) from None


def _as_bson(clause: Mapping[str, Any]) -> dict[str, Any]:
    """Extended JSON as the values that it stands for: dates, ObjectIds, decimals."""
    parts, level, depth = 0, [clause], 0
    while level:
        depth += 1
        parts += len(level)
        if depth > MAX_FILTER_DEPTH:
            raise QueryRefused(f"the filter is deeper than {MAX_FILTER_DEPTH} levels")
        if parts > MAX_FILTER_PARTS:
            raise QueryRefused(f"the filter has more than {MAX_FILTER_PARTS:,} parts")
        level = [part for value in level for part in _parts(value)]
    try:
        found = json_util.loads(json.dumps(clause))
        bson.encode({"": found})  # what no server could be sent
    except Exception as error:  # the parser lets through whatever its constructors raise
        raise QueryRefused(f"the filter is no Extended JSON: {error}") from None
    if not isinstance(found, dict):
        raise QueryRefused("the filter is one value: write a field's name before it")
    return found


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def _sentence(error: ValidationError) -> str:
    """The first of what is wrong."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return f"the body is no JSON that can be read: {first['msg'].split(': ', 1)[-1]}"
    if first["type"] == "extra_forbidden":
        name = _short(str(first["loc"][0]))
        return f"a search has no option {name}; there are {', '.join(Question.model_fields)}"
    message = first["msg"].removeprefix("Value error, ")
    # Of a union pydantic also names the branch: `query.constrained-str`.
    names = [str(part) for part in first["loc"][:1]]
    names += [str(part) for part in first["loc"][1:] if isinstance(part, int)]
    where = ".".join(names)
    return f"{where}: {message[:1].lower()}{message[1:]}" if where else message


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:60]}…")
