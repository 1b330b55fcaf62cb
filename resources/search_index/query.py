"""What is asked of an index and what comes back, checked alike whichever engine answers."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.core.errors import QueryRefused
from resources.core.vectors import NUMPY_TYPES, Element, Similarity, width

MAX_CANDIDATES = 10_000  # MongoDB's limit of numCandidates


@dataclass(frozen=True)
class Hit:
    id: Any
    score: float


@dataclass(frozen=True)
class Query:
    """How to search, whatever the vector.

    Attributes:
        limit: At most this many hits.
        filter: MQL over the index's filter fields.
        exact: Compare with every vector that passes the filter instead of walking a graph.
        num_candidates: How many candidates an approximate search considers, `limit` to 10,000;
            None for 20 times the limit, at least 100 and at most 10,000.

    Raises:
        QueryRefused: The limit or the candidates are out of bounds, or given with `exact`.
    """

    limit: int
    filter: Mapping[str, Any] | None = None
    exact: bool = False
    num_candidates: int | None = None

    def __post_init__(self) -> None:
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
