"""What is asked of an index and what comes back, checked alike whichever engine answers."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.core.errors import QueryRefused
from resources.core.vectors import NUMPY_TYPES, Element, Similarity, width

MAX_CANDIDATES = 10_000  # MongoDB's limit of numCandidates


Mode = Literal["vector", "text", "hybrid"]
RANK_CONSTANT = 60
"""Of reciprocal rank fusion, as in `$rankFusion`."""


@dataclass(frozen=True)
class Hit:
    """What an index found.

    Attributes:
        id: `_id` of the document.
        score: The higher, the better; what it stands for goes by the mode.
        document: Some of the document's fields, where the engine brings them along; else None.
        ranks: Place in each list that was fused, from 1: `{"vector": 3, "text": 1}`.
    """

    id: Any
    score: float
    document: Mapping[str, Any] | None = None
    ranks: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Query:
    """How to search, whatever is looked for.

    Attributes:
        limit: At most this many hits.
        filter: MQL over the index's filter fields.
        exact: Compare with every vector that passes the filter instead of walking a graph.
        num_candidates: How many candidates an approximate search considers, `limit` to 10,000;
            None for 20 times the limit, at least 100 and at most 10,000.
        mode: By vector, by the words of the text, or by both.
        weights: Of vector and text where both are fused.
        rank_constant: The k of reciprocal rank fusion, 1 / (k + rank).

    Raises:
        QueryRefused: A number is out of bounds, or given with what excludes it; an unknown mode.
    """

    limit: int
    filter: Mapping[str, Any] | None = None
    exact: bool = False
    num_candidates: int | None = None
    mode: Mode = "vector"
    weights: tuple[float, float] = (1.0, 1.0)
    rank_constant: int = RANK_CONSTANT

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise QueryRefused(
                f"there is no mode {self.mode!r}: choose {', '.join(get_args(Mode)[:-1])} or "
                f"{get_args(Mode)[-1]}"
            )
        self._check_fusion()
        if not _is_count(self.limit):
            raise QueryRefused(
                f"limit is {self.limit!r}: ask for a whole number of at least one, "
                f"not {self.limit!r}"
            )
        if self.num_candidates is None:
            if not self.exact and self.limit > MAX_CANDIDATES:
                raise QueryRefused(
                    f"the limit {self.limit} is above {MAX_CANDIDATES}, the most candidates that "
                    "an approximate search considers; an exact search has no such bound"
                )
        elif self.exact:
            raise QueryRefused("an exact search considers all vectors: leave num_candidates out")
        elif not (
            _is_count(self.num_candidates) and self.limit <= self.num_candidates <= MAX_CANDIDATES
        ):
            raise QueryRefused(
                f"num_candidates is a whole number from the limit, {self.limit}, to "
                f"{MAX_CANDIDATES}, not {self.num_candidates!r}"
            )

    def _check_fusion(self) -> None:
        numbers = [*self.weights, self.rank_constant]
        if len(self.weights) != 2 or not all(
            isinstance(number, (int, float)) and math.isfinite(number) and number >= 0
            for number in numbers
        ):
            raise QueryRefused(
                f"weights are two numbers of at least 0, and rank_constant one, not "
                f"{self.weights!r} and {self.rank_constant!r}"
            )
        if not any(self.weights):
            raise QueryRefused("both weights are 0: nothing would be ranked; set one above 0")

    @property
    def candidates(self) -> int:
        """How many an approximate search considers; MongoDB advises 20 times the limit."""
        return self.num_candidates or min(max(20 * self.limit, 100), MAX_CANDIDATES)

    def widened(self) -> "Query":
        """The same, for all its candidates: a choice to rank anew by a finer field."""
        return dataclasses.replace(self, limit=max(self.limit, self.candidates))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def checked_vector(
    vector: ArrayLike, element: Element, dimensions: int, similarity: Similarity
) -> NDArray[Any]:
    """One query vector in the element's NumPy type, of the index's width.

    Raises:
        QueryRefused: It is another type or width, holds NaN or infinity, or has no cosine.
    """
    kind = NUMPY_TYPES[element]
    given = np.asarray(vector)
    if element != "float32" and given.dtype != kind:
        raise QueryRefused(
            f"the index holds {element} vectors, the query is of {given.dtype}: MongoDB would find "
            "nothing"
        )
    try:
        with np.errstate(over="ignore"):
            asked = np.array(given, kind)
    except (TypeError, ValueError) as error:
        raise QueryRefused(f"the query is not a vector of numbers: {error}") from None
    if asked.ndim != 1 or len(asked) != width(element, dimensions):
        got = f"{len(asked) * dimensions // width(element, dimensions)}"
        raise QueryRefused(
            f"the index has {dimensions} dimensions, the query "
            f"{got if asked.ndim == 1 else f'the shape {asked.shape}'}"
        )
    if element == "float32" and not np.isfinite(asked).all():
        raise QueryRefused("the query vector holds NaN or infinity")
    if similarity == "cosine" and not asked.any():
        raise QueryRefused("the query vector is all zeros, which has no cosine")
    return asked
