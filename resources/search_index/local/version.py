"""A vector index of our own, for a MongoDB deployment without search nodes.

A version of it is a list of segments, and which of their rows are deleted; it never changes.

Scores, filters and the rules of a query are those of `$vectorSearch`. Vectors of int8 and packed
bits are held as floats, in which they are exact: the squared distance of bits is the number that
differ. Up to `exact_below` vectors in all, a query compares with each of them; above, the HNSW
graphs of the segments that have one find candidates, and the other segments are small. Either way
the candidates are scored anew from the stored vectors, so one document has one score however it
was found, and equal scores are ordered by id, whatever the index's history.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from resources.search_index.filters import evaluation as filters
from resources.search_index.filters.columns import Mask
from resources.search_index.local import faiss_index
from resources.search_index.local.faiss_index import Vectors
from resources.search_index.local.order import order
from resources.search_index.local.segment import Segment, as_floats, lengths
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.text.ranking import FullText
from resources.search_index.query import Hit, Query, checked_vector

# From benchmarks/local_index.py: one step through the graph takes as long as 16 comparisons with
# vectors by number.
GRAPH_STEP = 16
RESCORE_BATCH = 4096
BLOCK = 64
_LEAST = float(np.finfo(np.float32).min)  # above the mark of rows that do not pass

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Passing:
    """Which rows of a segment a query may find.

    Attributes:
        mask: (rows,) None where that are all.
        count: How many.
        chosen: The rows, where it is quicker to compare with those alone.
        without: Where it is not, the rows that do not pass.
    """

    mask: Mask | None
    count: int
    chosen: Rows | None = None
    without: Rows | None = None

    @classmethod
    def of(cls, mask: Mask | None, rows: int) -> "Passing":
        count = rows if mask is None else int(np.count_nonzero(mask))
        if mask is None or count == rows:
            return cls(None, rows)
        if count * 4 > rows * 3:  # by number, a comparison takes longer
            return cls(mask, count, without=np.flatnonzero(~mask))
        return cls(mask, count, chosen=np.flatnonzero(mask).astype(np.int64))


class Version:
    """One state of an index; any number of threads may search it.

    Attributes:
        shape: Of all segments.
        segments: Those that hold rows, the oldest first.
        deleted: By segment (rows,): which rows are deleted; None where none is.
        alive: The others, likewise.
        parts: By segment, what a query without a filter may find.
        name: Of the version; empty where it has none.
    """

    def __init__(
        self,
        shape: IndexShape,
        segments: Sequence[Segment],
        deleted: Sequence[Mask | None] = (),
        name: str = "",
    ) -> None:
        self.shape, self.name = shape, name
        self.segments = list(segments)
        self.deleted: list[Mask | None] = list(deleted) or [None] * len(self.segments)
        self.alive = [None if gone is None else ~gone for gone in self.deleted]
        self.parts = [
            Passing.of(mask, len(segment))
            for mask, segment in zip(self.alive, self.segments, strict=True)
        ]
        self._count = sum(part.count for part in self.parts)

    def __len__(self) -> int:
        return self._count

    def search(self, vector: ArrayLike, query: Query) -> list[Hit]:
        """Finds the most similar vectors.

        Args:
            vector: Of the index's element type; finite; not all zeros where the similarity is
                cosine.
            query: Its filter is on the filter paths. Where comparing with all costs no more than
                walking a graph for its candidates, that is done instead.

        Returns:
            At most `limit` hits, the best first; of equal scores by id.

        Raises:
            QueryRefused: what MongoDB would refuse too.
        """
        asked = self._asked(vector)
        parts = self.parts if query.filter is None else self.passing(query.filter)
        if not any(part.count for part in parts):
            return []
        found: dict[int, Rows] = {}
        if not query.exact and len(self) > self.shape.exact_below:
            found = self._walk(asked, parts, query)
        rest = [at for at, part in enumerate(parts) if at not in found and part.count]
        found |= self._compare(asked, parts, rest, query.limit)
        return self._best(asked, found, query.limit)

    def matching(self, text: str, query: Query) -> list[Hit]:
        """Finds the documents with any of the words, the best first; of equal scores by id.

        Raises:
            QueryRefused: As `search`.
        """
        if self.text is None:
            return []
        parts = self.parts if query.filter is None else self.passing(query.filter)
        matches = self.text.matching(text, query.limit, [part.mask for part in parts])
        return [Hit(self.segments[at].ids[row], score) for at, row, score in matches]

    @cached_property
    def text(self) -> FullText | None:
        """The texts of all segments; None where the index holds vectors only."""
        if self.shape.tokenizer is None:
            return None
        texts = [segment.text for segment in self.segments if segment.text is not None]
        ids = [segment.ids for segment in self.segments]
        return FullText(
            texts, self.alive, self.shape.tokenizer, lambda at, row: order(ids[at][row])
        )

    def passing(self, filter: Mapping[str, Any]) -> list[Passing]:  # noqa: A002
        """By segment, which rows are not deleted and pass a filter.

        Raises:
            QueryRefused: As `search`.
        """
        filters.validate(filter, self.shape.filter_paths)
        found = []
        for segment, alive in zip(self.segments, self.alive, strict=True):
            mask = filters.evaluate(filter, segment.columns, len(segment))
            found.append(Passing.of(mask if alive is None else mask & alive, len(segment)))
        return found

    def count(self, filter: Mapping[str, Any]) -> int:  # noqa: A002
        """How many documents pass a filter.

        Raises:
            QueryRefused: As `search`.
        """
        return sum(part.count for part in self.passing(filter))

    def _asked(self, vector: ArrayLike) -> Vectors:
        shape = self.shape
        asked = checked_vector(vector, shape.element, shape.dimensions, shape.similarity)
        asked = as_floats(asked, shape.element)
        if shape.similarity == "cosine":
            asked = (asked / float(lengths(asked))).astype(np.float32)
        return asked

    def _walk(self, asked: Vectors, parts: Sequence[Passing], query: Query) -> dict[int, Rows]:
        """Candidates by segment, of those whose graph is the quicker way."""
        found = {}
        for at, (segment, part) in enumerate(zip(self.segments, parts, strict=True)):
            if not segment.has_graph or not part.count:
                continue
            # To see that many documents that pass, a graph is searched the wider the fewer pass.
            steps = math.ceil(query.candidates * len(segment) / part.count)
            if part.count > GRAPH_STEP * steps:
                count = min(query.candidates, len(segment))
                rows = faiss_index.search_graph(
                    segment.faiss_index, asked, part.mask, count=count, steps=steps
                )
                if len(rows) >= min(query.limit, part.count):
                    found[at] = rows
        return found

    def _compare(
        self, asked: Vectors, parts: Sequence[Passing], chosen: Sequence[int], limit: int
    ) -> dict[int, Rows]:
        """The best of all that pass, and everything within float32's error of the last of them."""
        near = []
        for at in chosen:
            segment, part = self.segments[at], parts[at]
            values = faiss_index.nearness(
                segment.vectors, asked, part.chosen, self.shape.similarity
            )
            if part.without is not None:
                values[part.without] = -np.inf
            near.append(values)
        least = self._least(near, asked, limit)
        found = {}
        for at, values in zip(chosen, near, strict=True):
            rows = np.flatnonzero(values >= least)
            if len(rows):
                numbers = parts[at].chosen
                found[at] = rows if numbers is None else numbers[rows]
        return found

    def _least(self, near: Sequence[NDArray[np.float32]], asked: Vectors, limit: int) -> float:
        """What the best have at least, as far as float32 tells."""
        values = near[0] if len(near) == 1 else np.concatenate([np.empty(0, np.float32), *near])
        if limit >= len(values):
            return _LEAST
        if limit * BLOCK <= len(values):
            # So many blocks have a value of at least this, each; the rest need not be sorted.
            blocks = values[: len(values) // BLOCK * BLOCK].reshape(-1, BLOCK).max(axis=1)
            values = values[values >= np.partition(blocks, -limit)[-limit]]
        last = float(np.partition(values, -limit)[-limit])
        # the error grows with the terms of the sum, not with the sum
        euclidean = self.shape.similarity == "euclidean"
        scale = -last if euclidean else float(lengths(asked)) * self._longest
        return max(last - 1e-5 * scale, _LEAST)

    @cached_property
    def _longest(self) -> float:
        if self.shape.similarity == "cosine":
            return 1.0
        squares = (np.einsum("ij,ij->i", each.vectors, each.vectors) for each in self.segments)
        return math.sqrt(max(float(each.max()) for each in squares))

    def _best(self, asked: Vectors, found: Mapping[int, Rows], limit: int) -> list[Hit]:
        near, ids = [], []
        for at, rows in found.items():
            near.append(self._nearness(self.segments[at].vectors, rows, asked))
            known = self.segments[at].ids
            ids += [known[row] for row in rows.tolist()]
        # MongoDB's scores are float32; so is what counts as a tie
        values = np.concatenate(near).astype(np.float32)
        best = np.argsort(-values, kind="stable")
        sorted_values = values[best]
        if limit < len(best):
            # with all that equal the last one: their ids decide
            best = best[: np.searchsorted(-sorted_values, -sorted_values[limit - 1], "right")]
            sorted_values = sorted_values[: len(best)]
        hits = [
            (near, ids[at]) for near, at in zip(sorted_values.tolist(), best.tolist(), strict=True)
        ]
        if (sorted_values[1:] == sorted_values[:-1]).any():
            hits.sort(key=lambda hit: (-hit[0], order(hit[1])))
        return [Hit(found, self._score(near)) for near, found in hits[:limit]]

    def _nearness(self, vectors: Vectors, rows: Rows, asked: Vectors) -> NDArray[np.float64]:
        wide = asked.astype(np.float64)
        nearness = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), RESCORE_BATCH):
            part = slice(start, start + RESCORE_BATCH)
            stored = vectors[rows[part]].astype(np.float64)
            if self.shape.similarity == "euclidean":
                nearness[part] = -np.square(stored - wide).sum(axis=1)
            else:
                nearness[part] = (stored * wide).sum(axis=1)
        return nearness

    def _score(self, nearness: float) -> float:
        shape = self.shape
        if shape.element == "packed_bit":
            return 1 + nearness / shape.dimensions
        if shape.element == "int8" and shape.similarity == "dotProduct":
            return 0.5 + nearness / (shape.dimensions * 2**15)
        if shape.similarity == "euclidean":
            return 1 / (1 - nearness)  # of the squared distance, whatever MongoDB's docs say
        score = max((1 + nearness) / 2, 0.0)
        return min(score, 1.0) if shape.similarity == "cosine" else score
