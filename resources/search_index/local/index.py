"""A vector index of our own, for a MongoDB deployment without search nodes.

Scores, filters and the rules of a query are those of `$vectorSearch`. Vectors of int8 and packed
bits are held as floats, in which they are exact: the squared distance of bits is the number that
differ. Up to `exact_below` vectors
a query compares with each of them; above, an HNSW graph finds candidates. Either way the
candidates are scored anew from the stored vectors, so one document has one score however it was
found, and equal scores keep the order in which the documents were added.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.core.errors import QueryRefused
from resources.core.vectors import NUMPY_TYPES, Element, Similarity, width
from resources.search_index.filters import evaluation as filters
from resources.search_index.filters.columns import FilterColumn, Mask
from resources.search_index.local import faiss_index
from resources.search_index.local.faiss_index import Vectors
from resources.search_index.scores import meaning

MAX_CANDIDATES = 10_000  # MongoDB's limit of numCandidates
# From benchmarks/local_index.py: one step through the graph takes as long as 16 comparisons with
# vectors by number.
GRAPH_STEP = 16
RESCORE_BATCH = 4096


@dataclass(frozen=True)
class Hit:
    id: Any
    score: float


class LocalIndex:
    """An index that is complete; any number of threads may search it."""

    def __init__(
        self,
        index: Any,
        similarity: Similarity,
        ids: list[Any],
        columns: Sequence[FilterColumn],
        element: Element = "float32",
    ) -> None:
        """Takes over what a builder or a folder of files holds.

        Args:
            index: A FAISS index; its vectors have unit length where the similarity is cosine.
            similarity: As in the definition of a MongoDB index.
            ids: (n,) any BSON values.
            columns: One for each filter path, of n documents.
            element: Of the vectors that were added, and of queries.
        """
        meaning(element, similarity)  # raises where they do not go together
        self.faiss_index = index
        self.similarity: Similarity = similarity
        self.element: Element = element
        self.ids = ids
        self.columns = {column.path: column for column in columns}
        self._stored = faiss_index.vectors(index)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dimensions(self) -> int:
        return self.faiss_index.d

    def search(
        self,
        vector: ArrayLike,
        *,
        limit: int,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 (MongoDB's name of it)
        exact: bool = False,
        num_candidates: int | None = None,
    ) -> list[Hit]:
        """Finds the most similar vectors.

        Args:
            vector: Of the index's element type; finite; not all zeros where the similarity is
                cosine.
            limit: At least 1.
            filter: As in `$vectorSearch`, on the paths of `columns`.
            exact: Compare with every vector that passes the filter, also where there is a graph.
            num_candidates: Breadth of a search through the graph, `limit` to 10,000; by default
                20 times the limit, at least 100. Where comparing with all costs no more, that
                is done instead.

        Returns:
            At most `limit` hits, the best first.

        Raises:
            QueryRefused: what MongoDB would refuse too.
        """
        query = self._query(vector)
        breadth = candidates_of(limit, exact, num_candidates)
        passing = None
        if filter is not None:
            passing = filters.evaluate(filter, self.columns, len(self))
        count = len(self) if passing is None else int(np.count_nonzero(passing))
        if count == 0:
            return []
        if count == len(self):
            passing = None
        # To see `breadth` documents that pass, the graph is searched the wider the fewer pass.
        steps = math.ceil(breadth * len(self) / count)
        rows = None
        if not exact and not faiss_index.is_flat(self.faiss_index) and count > GRAPH_STEP * steps:
            rows = faiss_index.search_graph(
                self.faiss_index, query, passing, count=min(breadth, len(self)), steps=steps
            )
        if rows is None or len(rows) < min(limit, count):
            rows = self._search_all(query, passing, limit)
        return self._best(query, rows, limit)

    def passing(self, filter: Mapping[str, Any]) -> int:  # noqa: A002
        """How many documents pass a filter.

        Raises:
            QueryRefused: As `search`.
        """
        return int(np.count_nonzero(filters.evaluate(filter, self.columns, len(self))))

    def _query(self, vector: ArrayLike) -> Vectors:
        query = checked_query(vector, self.element, self.dimensions)
        query = as_floats(query, self.element)
        if self.similarity == "cosine":
            length = float(lengths(query))
            if length == 0:
                raise QueryRefused("the query vector is all zeros, which has no cosine")
            query = (query / length).astype(np.float32)
        return query

    def _search_all(self, query: Vectors, passing: Mask | None, limit: int) -> NDArray[np.int64]:
        """The best of all that pass, and everything within float32's error of the last of them."""
        rows = None if passing is None else np.flatnonzero(passing).astype(np.int64)
        values = faiss_index.nearness(self._stored, query, rows, self.similarity)
        if limit < len(values):
            last = float(np.partition(values, -limit)[-limit])
            # the error grows with the terms of the sum, not with the sum
            euclidean = self.similarity == "euclidean"
            scale = -last if euclidean else float(lengths(query)) * self._longest
            kept = np.flatnonzero(values >= last - 1e-5 * scale)
        else:
            kept = np.arange(len(values))
        return kept if rows is None else rows[kept]

    @cached_property
    def _longest(self) -> float:
        if self.similarity == "cosine":
            return 1.0
        return math.sqrt(np.einsum("ij,ij->i", self._stored, self._stored).max())

    def _best(self, query: Vectors, rows: NDArray[np.int64], limit: int) -> list[Hit]:
        wide = query.astype(np.float64)
        nearness = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), RESCORE_BATCH):
            part = slice(start, start + RESCORE_BATCH)
            stored = self._stored[rows[part]].astype(np.float64)
            if self.similarity == "euclidean":
                nearness[part] = -np.square(stored - wide).sum(axis=1)
            else:
                nearness[part] = (stored * wide).sum(axis=1)
        # MongoDB's scores are float32; so is what counts as a tie
        nearness = nearness.astype(np.float32)
        order = np.lexsort((rows, -nearness))[:limit]
        return [
            Hit(self.ids[row], self._score(float(near)))
            for row, near in zip(rows[order].tolist(), nearness[order], strict=True)
        ]

    def _score(self, nearness: float) -> float:
        if self.element == "packed_bit":
            return 1 + nearness / self.dimensions
        if self.element == "int8" and self.similarity == "dotProduct":
            return 0.5 + nearness / (self.dimensions * 2**15)
        if self.similarity == "euclidean":
            return 1 / (1 - nearness)  # of the squared distance, whatever MongoDB's docs say
        score = max((1 + nearness) / 2, 0.0)
        return min(score, 1.0) if self.similarity == "cosine" else score


def checked_query(vector: ArrayLike, element: Element, dimensions: int) -> NDArray[Any]:
    """One query vector in the element's NumPy type, of the index's width.

    Raises:
        QueryRefused: It is another type or width, or holds NaN or infinity.
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
            query = np.array(given, kind)
    except (TypeError, ValueError) as error:
        raise QueryRefused(f"the query is not a vector of numbers: {error}") from None
    if query.ndim != 1 or len(query) != width(element, dimensions):
        got = f"{len(query) * dimensions // width(element, dimensions)}"
        raise QueryRefused(
            f"the index has {dimensions} dimensions, the query "
            f"{got if query.ndim == 1 else f'the shape {query.shape}'}"
        )
    if element == "float32" and not np.isfinite(query).all():
        raise QueryRefused("the query vector holds NaN or infinity")
    return query


def as_floats(vectors: NDArray[Any], element: Element) -> Vectors:
    """float32 of the same values; of packed bits zeros and ones, one for each dimension."""
    values = np.unpackbits(vectors, axis=-1) if element == "packed_bit" else vectors
    return np.array(values, np.float32, order="C")


def lengths(vectors: Vectors) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)  # squares of small float32 values would vanish
    return np.sqrt((wide * wide).sum(axis=-1))


def default_candidates(limit: int) -> int:
    """What an approximate search considers: MongoDB's documentation advises 20 times the limit."""
    return min(max(20 * limit, 100), MAX_CANDIDATES)


def candidates_of(limit: int, exact: bool, num_candidates: int | None) -> int:
    """How many candidates a search considers.

    Raises:
        QueryRefused: The limit or the candidates are out of bounds, or given with `exact`.
    """
    if not _is_count(limit):
        raise QueryRefused(f"the limit is a whole number of at least 1, not {limit!r}")
    if num_candidates is None:
        if not exact and limit > MAX_CANDIDATES:
            raise QueryRefused(
                f"the limit {limit} is above {MAX_CANDIDATES}, the most candidates that an "
                f"approximate search considers; an exact search has no such bound"
            )
        return default_candidates(limit)
    if exact:
        raise QueryRefused("an exact search considers all vectors: leave num_candidates out")
    if not _is_count(num_candidates) or not limit <= num_candidates <= MAX_CANDIDATES:
        raise QueryRefused(
            f"num_candidates is a whole number from the limit, {limit}, to {MAX_CANDIDATES}, "
            f"not {num_candidates!r}"
        )
    return num_candidates


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
