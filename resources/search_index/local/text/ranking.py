"""BM25 over all segments of a version, as if they were one.

Source of the formula: the documentation and source of SQLite's FTS5 (`bm25()`), but for the sign:
here the higher score is the better. Every number in it is of the whole version and of its living
rows only, so that a version has the same scores whatever history it has.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resources.search_index.filters.columns import Mask
from resources.search_index.local.text.postings import Postings, TextSegment
from resources.search_index.local.text.tokens import Term, Tokenizer, query_terms

K1, B = 1.2, 0.75
LEAST_IDF = 1e-6
"""Of a term that is in half of the rows or more; it still finds them."""


FEW = 8
"""Where fewer than one in so many rows hold a term, a score for each row would take longer."""
MANY = 1_000
"""So many equal ones are not sorted one by one for every query."""


class Match(NamedTuple):
    segment: int
    row: int
    score: float


@dataclass(frozen=True)
class TermUse:
    """How a term of a query counts.

    Attributes:
        term: Of the query.
        rows: How many living rows hold it.
        weight: Its inverse document frequency.
    """

    term: Term
    rows: int
    weight: float


class FullText:
    """The texts of one version; any number of threads may search it.

    Attributes:
        rows: How many living rows have a text.
    """

    def __init__(
        self,
        segments: Sequence[TextSegment],
        alive: Sequence[Mask | None],
        tokenizer: Tokenizer,
        order: Callable[[int, int], Any] = lambda segment, row: (segment, row),
    ) -> None:
        """Of segments that are open.

        Args:
            segments: In any order that stays.
            alive: For each segment (rows,), false for a deleted one; None: nothing is deleted.
            tokenizer: By which all of them were built.
            order: Of a segment's number and a row's, a key by which equal scores are sorted.
        """
        self._order = order
        self._known_places: dict[int, NDArray[np.int64]] = {}
        self._segments, self._alive = segments, alive
        self._tokenizer: Tokenizer = tokenizer
        living = [
            segment.lengths[(segment.lengths >= 0) & (True if mask is None else mask)]
            for segment, mask in zip(segments, alive, strict=True)
        ]
        self.rows = sum(map(len, living))
        total = sum(int(lengths.sum(dtype=np.int64)) for lengths in living)
        average = total / self.rows if total else 1.0
        self._penalties = [K1 * (1 - B + B * segment.lengths / average) for segment in segments]

    def matching(
        self, text: str, limit: int, passing: Sequence[Mask | None] | None = None
    ) -> list[Match]:
        """The rows that hold any of the terms, the best first; of equal ones in the given order.

        Args:
            text: Whatever somebody has typed; nothing in it is an operator.
            limit: At most this many.
            passing: For each segment (rows,), which of them may be found; None: all that live.
        """
        found = self._found(text)
        rows, scores = [], []
        for number, postings in enumerate(found.postings):
            at, values = self._scored(number, postings, found.weights)
            for mask in (self._alive[number], passing[number] if passing else None):
                if mask is not None:
                    kept = mask[at]
                    at, values = at[kept], values[kept]
            rows.append(at)
            scores.append(values)
        return self._best(rows, scores, limit)

    def uses(self, text: str) -> list[TermUse]:
        """What of a text is looked for, for people."""
        found = self._found(text)
        return [
            TermUse(*use) for use in zip(found.terms, found.documents, found.weights, strict=True)
        ]

    def _found(self, text: str) -> "_Found":
        terms = query_terms(text, self._tokenizer)
        postings = [segment.postings(terms) for segment in self._segments]
        documents = [0] * len(terms)
        for of_segment, alive in zip(postings, self._alive, strict=True):
            for number, (rows, _) in enumerate(of_segment):
                documents[number] += len(rows) if alive is None else int(alive[rows].sum())
        return _Found(terms, documents, [self._weight(count) for count in documents], postings)

    def _weight(self, documents: int) -> float:
        odds = (self.rows - documents + 0.5) / (documents + 0.5)
        return math.log(odds) if odds > 1 else LEAST_IDF

    def _scored(
        self, number: int, postings: Sequence[Postings], weights: Sequence[float]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The rows of a segment that hold a term, and their scores."""
        penalties = self._penalties[number]
        parts: list[NDArray[np.float64]] = []
        for (rows, counts), weight in zip(postings, weights, strict=True):
            frequency = np.float64(1) if counts is None else counts.astype(np.float64)
            parts.append(weight * (frequency * (K1 + 1) / (frequency + penalties[rows])))
        # Always summed in the terms' order: in another, sums of the same numbers differ a little.
        if sum(map(len, parts)) * FEW < len(penalties):
            every = np.concatenate([np.empty(0, np.int64), *(rows for rows, _ in postings)])
            distinct, where = np.unique(every, return_inverse=True)
            scores = np.bincount(where, np.concatenate([np.empty(0), *parts]), len(distinct))
            return distinct, scores.astype(np.float64)
        scores = np.zeros(len(penalties))
        for (rows, _), part in zip(postings, parts, strict=True):
            scores[rows] += part
        found = np.flatnonzero(scores)
        return found, scores[found]

    def _best(
        self,
        rows: Sequence[NDArray[np.int64]],
        scores: Sequence[NDArray[np.float64]],
        limit: int,
    ) -> list[Match]:
        every = np.concatenate([np.empty(0), *scores])
        last = np.partition(every, -limit)[-limit] if limit < len(every) else 0.0
        matches: list[Match] = []
        for number, (at, values) in enumerate(zip(rows, scores, strict=True)):
            kept = np.flatnonzero(values >= last)
            same = kept[values[kept] == last]
            if len(same) > max(limit, MANY):  # of these, the first alone can be among the best
                first = np.argpartition(self._places(number)[at[same]], limit)[:limit]
                kept = np.concatenate([kept[values[kept] > last], same[first]])
            matches += [
                Match(number, row, score)
                for row, score in zip(at[kept].tolist(), values[kept].tolist(), strict=True)
            ]
        matches.sort(key=lambda match: (-match.score, self._order(match.segment, match.row)))
        return matches[:limit]

    def _places(self, number: int) -> NDArray[np.int64]:
        """(rows,) of a segment, the place of each in the order; reckoned once, when needed."""
        if number not in self._known_places:
            rows = range(len(self._segments[number]))
            ordered = sorted(rows, key=lambda row: self._order(number, row))
            places = np.empty(len(ordered), np.int64)
            places[ordered] = np.arange(len(ordered))
            self._known_places[number] = places
        return self._known_places[number]


class _Found(NamedTuple):
    terms: list[Term]
    documents: list[int]
    weights: list[float]
    postings: list[list[Postings]]  # of each segment, of each term
