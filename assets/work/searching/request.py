"""What may be asked of a search, and what is refused before anything is embedded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypedDict

from resources.core.errors import QueryRefused
from resources.search_index.query import RANK_CONSTANT, Mode, Query

MAX_EXPANSION = 20
"""Chunks on either side of a hit."""


class SearchOptions(TypedDict, total=False):
    """How to search; every one may be left out.

    Attributes:
        limit: At most this many hits; 5.
        filter: MQL over the index's filter fields.
        exact: Compare with every vector.
        num_candidates: How many candidates an approximate search considers.
        mode: `vector`, `text` (by words), or `hybrid` (both, fused by rank).
        weights: Of vector and text in a hybrid search; 1 and 1.
        rank_constant: Of reciprocal rank fusion; 60.
        group_by_source: Only the best chunk of each source document.
        expand: Return the text around each hit, so many chunks on either side.
        diversity: 0 to 1: how much a hit that is like a better one loses (MMR); 0.
        min_score: Leave out hits below this score.
        rerank: Whether the pipeline's reranker, if it has one, orders the hits anew.
        space: Ask another of the pipeline's spaces than the one that serves: its id, or how that
            begins.
    """

    limit: int
    filter: Mapping[str, Any] | None
    exact: bool
    num_candidates: int | None
    mode: Mode
    weights: tuple[float, float]
    rank_constant: int
    group_by_source: bool
    expand: int
    diversity: float
    min_score: float | None
    rerank: bool
    space: str | None


@dataclass(frozen=True)
class Request:
    """Options with their defaults: see `SearchOptions`.

    Raises:
        QueryRefused: A value is out of bounds, or there is no such option.
    """

    limit: int = 5
    filter: Mapping[str, Any] | None = None
    exact: bool = False
    num_candidates: int | None = None
    mode: Mode = "vector"
    weights: tuple[float, float] = (1.0, 1.0)
    rank_constant: int = RANK_CONSTANT
    group_by_source: bool = False
    expand: int = 0
    diversity: float = 0.0
    min_score: float | None = None
    rerank: bool = True
    space: str | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Request":
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise QueryRefused(f"a search has no option {name!r}; there are {', '.join(known)}")
        return cls(**options)

    def __post_init__(self) -> None:
        _ = self.query  # refuses what it does not like
        if not _is_number(self.expand, 0, MAX_EXPANSION) or int(self.expand) != self.expand:
            raise QueryRefused(
                f"expand is {self.expand!r}: give a whole number of chunks, 0 to {MAX_EXPANSION}"
            )
        if not _is_number(self.diversity, 0, 1):
            raise QueryRefused(f"diversity is {self.diversity!r}: give a number from 0 to 1")
        if self.min_score is not None and not _is_number(self.min_score, -math.inf, math.inf):
            raise QueryRefused(f"min_score is {self.min_score!r}: give a number")
        if self.space is not None and not isinstance(self.space, str):
            raise QueryRefused(f"space is {self.space!r}: give the beginning of a space's id")

    @cached_property
    def query(self) -> Query:
        """What of it the index is asked for."""
        return Query(
            self.limit,
            self.filter,
            self.exact,
            self.num_candidates,
            self.mode,
            self.weights,
            self.rank_constant,
        )


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
