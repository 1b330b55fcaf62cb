"""Building a local index from vectors that arrive batch by batch."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.core.errors import SearchIndexError
from resources.core.vectors import Element, Similarity, width
from resources.search_index.declaration import EXACT_BELOW
from resources.search_index.filters.columns import FilterColumnBuilder
from resources.search_index.local import faiss_index
from resources.search_index.local.faiss_index import Vectors
from resources.search_index.local.index import LocalIndex, as_floats, lengths
from resources.search_index.scores import meaning


class LocalIndexBuilder:
    """Takes vectors batch by batch; beside the index itself it holds one batch of them."""

    def __init__(
        self,
        *,
        dimensions: int,
        similarity: Similarity,
        filter_paths: Sequence[str],
        exact_below: int = EXACT_BELOW,
        max_edges: int = 16,
        num_edge_candidates: int = 100,
        expected: int | None = None,
        element: Element = "float32",
    ) -> None:
        """Begins an empty index.

        Args:
            dimensions: Width of every vector.
            similarity: As in the definition of a MongoDB index.
            filter_paths: Dotted paths that a filter may name.
            exact_below: Up to this many vectors no graph is built.
            max_edges: MongoDB's `hnswOptions.maxEdges`.
            num_edge_candidates: MongoDB's `hnswOptions.numEdgeCandidates`.
            expected: How many vectors to reserve memory for.
            element: Type of the vectors that will be added.
        """
        if similarity not in get_args(Similarity):
            raise SearchIndexError(
                f"unknown similarity {similarity!r}; allowed are {', '.join(get_args(Similarity))}"
            )
        meaning(element, similarity)  # raises where they do not go together
        self._dimensions = dimensions
        self._element: Element = element
        self._similarity: Similarity = similarity
        self._columns = [FilterColumnBuilder(path) for path in filter_paths]
        self._exact_below = exact_below
        self._max_edges = max_edges
        self._num_edge_candidates = num_edge_candidates
        self._ids: list[Any] = []
        self._waiting: list[Vectors] = []
        self._expected = expected or 0
        self._index = self._graph() if self._expected > exact_below else self._flat()
        faiss_index.reserve(self._index, self._expected)

    def _flat(self) -> Any:
        return faiss_index.new_flat(self._dimensions, self._similarity)

    def _graph(self) -> Any:
        return faiss_index.new_graph(
            self._dimensions,
            self._similarity,
            max_edges=self._max_edges,
            num_edge_candidates=self._num_edge_candidates,
        )

    def add(
        self, ids: Sequence[Any], vectors: NDArray[Any], fields: Sequence[Mapping[str, Any]]
    ) -> None:
        """Adds a batch, all of it or nothing.

        MongoDB leaves out a vector that it cannot index and says nothing; here it is an error.

        Args:
            ids: (n,) any BSON values.
            vectors: (n, dimensions) of the element type; packed bits (n, dimensions / 8).
            fields: (n,) documents with the filter fields, nested or under their dotted path.

        Raises:
            SearchIndexError: names the first vector that cannot be indexed.
        """
        if not len(ids) == len(vectors) == len(fields):
            raise SearchIndexError(
                f"a batch has {len(ids)} ids, {len(vectors)} vectors and {len(fields)} documents"
            )
        if not len(ids):
            return
        columns = width(self._element, self._dimensions)
        if vectors.ndim != 2 or vectors.shape[1] != columns:
            got = vectors.shape[-1] * self._dimensions // columns if vectors.ndim > 1 else "no"
            raise SearchIndexError(
                f"the vector of {ids[0]!r} has {got} dimensions, the index {self._dimensions}"
            )
        with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
            batch = as_floats(vectors, self._element)
        _refuse(np.logical_not(np.isfinite(batch)).any(axis=1), ids, "holds NaN or infinity")
        if self._similarity == "cosine":
            norms = lengths(batch)
            _refuse(norms == 0, ids, "is all zeros, which has no cosine")
            batch = (batch / norms[:, None]).astype(np.float32)
        for column in self._columns:
            column.append(fields)
        self._ids.extend(ids)
        self._waiting.append(batch)
        if len(self._ids) - self._index.ntotal >= faiss_index.ADD_BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        batch = np.concatenate(self._waiting)
        self._waiting.clear()
        flat = faiss_index.is_flat(self._index)
        if flat and self._index.ntotal + len(batch) > self._exact_below:
            graph = self._graph()
            faiss_index.reserve(graph, max(self._expected, self._index.ntotal))
            self._move_to(graph)
        self._index.add(batch)

    def _move_to(self, target: Any) -> None:
        faiss_index.copy(self._index, target)
        self._index = target

    def finish(self) -> LocalIndex:
        self._flush()
        if not faiss_index.is_flat(self._index) and self._index.ntotal <= self._exact_below:
            self._move_to(self._flat())  # fewer vectors than expected
        columns = [column.finish() for column in self._columns]
        return LocalIndex(self._index, self._similarity, self._ids, columns, self._element)


def _refuse(wrong: ArrayLike, ids: Sequence[Any], what: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise SearchIndexError(
            f"the vector of {ids[rows[0]]!r} {what}: MongoDB would skip it silently"
        )
