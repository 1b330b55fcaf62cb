"""Building a segment of a local index, from vectors that arrive batch by batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.core.errors import SearchIndexError
from resources.core.vectors import width
from resources.search_index.filters.columns import FilterColumnBuilder
from resources.search_index.local import faiss_index
from resources.search_index.local.faiss_index import Vectors
from resources.search_index.local.segment import Segment, as_floats, lengths
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.signatures import Signatures, unknown
from resources.search_index.local.text.building import TextBuilder


class SegmentBuilder:
    """Takes vectors batch by batch; beside the segment itself it holds one batch of them."""

    def __init__(self, shape: IndexShape, *, expected: int = 0, flat: bool = False) -> None:
        """Begins an empty segment.

        Args:
            shape: Of the index.
            expected: How many vectors to reserve memory for.
            flat: Build no graph, however many vectors there are.
        """
        self._shape = shape
        self._columns = [FilterColumnBuilder(path) for path in shape.filter_paths]
        self._ids: list[Any] = []
        self._signatures: list[Signatures] = []
        self._waiting: list[Vectors] = []
        self._text = TextBuilder(shape.tokenizer) if shape.tokenizer else None
        self._expected = expected
        self._exact_below = float("inf") if flat else shape.exact_below
        self._index = self._graph() if expected > self._exact_below else self._flat()
        faiss_index.reserve(self._index, expected)

    def __len__(self) -> int:
        return len(self._ids)

    def _flat(self) -> Any:
        return faiss_index.new_flat(self._shape.dimensions, self._shape.similarity)

    def _graph(self) -> Any:
        return faiss_index.new_graph(
            self._shape.dimensions,
            self._shape.similarity,
            max_edges=self._shape.max_edges,
            num_edge_candidates=self._shape.num_edge_candidates,
        )

    def add(
        self,
        ids: Sequence[Any],
        vectors: NDArray[Any],
        fields: Sequence[Mapping[str, Any]],
        signatures: Signatures | None = None,
        texts: Sequence[str | None] | None = None,
    ) -> None:
        """Adds a batch, all of it or nothing.

        MongoDB leaves out a vector that it cannot index and says nothing; here it is an error.

        Args:
            ids: (n,) any BSON values.
            vectors: (n, dimensions) of the element type; packed bits (n, dimensions / 8).
            fields: (n,) documents with the filter fields, nested or under their dotted path.
            signatures: (n, 2) of what the rows are made of; without any they count as out of date.
            texts: (n,) None: that document has none. Left out where the index has no texts.

        Raises:
            SearchIndexError: names the first vector that cannot be indexed; there is no room for
                temporary files.
        """
        if not len(ids) == len(vectors) == len(fields):
            raise SearchIndexError(
                f"a batch has {len(ids)} ids, {len(vectors)} vectors and {len(fields)} documents"
            )
        if not len(ids):
            return
        shape = self._shape
        columns = width(shape.element, shape.dimensions)
        if vectors.ndim != 2 or vectors.shape[1] != columns:
            got = vectors.shape[-1] * shape.dimensions // columns if vectors.ndim > 1 else "no"
            raise SearchIndexError(
                f"the vector of {ids[0]!r} has {got} dimensions, the index {shape.dimensions}"
            )
        with np.errstate(over="ignore"):  # what overflows float32 is infinite, and refused below
            batch = as_floats(vectors, shape.element)
        _refuse(np.logical_not(np.isfinite(batch)).any(axis=1), ids, "holds NaN or infinity")
        if shape.similarity == "cosine":
            norms = lengths(batch)
            _refuse(norms == 0, ids, "is all zeros, which has no cosine")
            batch = (batch / norms[:, None]).astype(np.float32)
        if self._text is not None:
            self._text.add([None] * len(ids) if texts is None else texts)
        for column in self._columns:
            column.append(fields)
        self._ids.extend(ids)
        self._signatures.append(unknown(len(ids)) if signatures is None else signatures)
        self._take(batch)

    def extend(self, segment: Segment, rows: NDArray[np.int64]) -> None:
        """Adds rows of another segment of the index, in their order and as they are."""
        if self._text is not None and segment.text is not None:
            self._text.extend(segment.text, rows)
        for start in range(0, len(rows), faiss_index.ADD_BATCH):
            part = rows[start : start + faiss_index.ADD_BATCH]
            for column in self._columns:
                column.extend(segment.columns[column.path], part)
            self._ids.extend([segment.ids[row] for row in part.tolist()])
            self._signatures.append(segment.signatures[part])
            self._take(segment.vectors[part])

    def _take(self, batch: Vectors) -> None:
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

    def finish(self) -> Segment:
        self._flush()
        if not faiss_index.is_flat(self._index) and self._index.ntotal <= self._exact_below:
            self._move_to(self._flat())  # fewer vectors than expected
        columns = {column.path: column.finish() for column in self._columns}
        signatures = np.concatenate([unknown(0), *self._signatures])
        text = None if self._text is None else self._text.finish()
        return Segment(self._ids, columns, signatures, self._index, text)


def _refuse(wrong: ArrayLike, ids: Sequence[Any], what: str) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise SearchIndexError(
            f"the vector of {ids[rows[0]]!r} {what}: MongoDB would skip it silently"
        )
