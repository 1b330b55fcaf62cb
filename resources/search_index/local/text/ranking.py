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
    ) -> None:
        """Of segments that are open.

        Args:
            segments: In any order that stays.
            alive: For each segment (rows,), false for a deleted one; None: nothing is deleted.
            tokenizer: By which all of them were built.
        """
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
        self,
        text: str,
        limit: int,
        *,
        passing: Sequence[Mask | None] | None = None,
        order: Callable[[int, int], Any] | None = None,
    ) -> list[Match]:
        """The rows that hold any of the terms, the best first.

        Args:
            text: Whatever somebody has typed; nothing in it is an operator.
            limit: At most this many.
            passing: For each segment (rows,), which of them may be found; None: all that live.
            order: Of a segment's number and a row's, by which equal scores of several segments are
                sorted; within a segment it ascends with the rows. Default: those numbers.
        """
        found = self._found(text)
        matches: list[Match] = []
        for number, postings in enumerate(found.postings):
            allowed = [self._alive[number], passing[number] if passing else None]
            rows, scores = self._scored(number, postings, found.weights)
            for mask in allowed:
                if mask is not None:
                    rows = rows[mask[rows]]
            matches += _best(number, rows, scores[rows], limit)
        by = order or (lambda segment, row: (segment, row))
        matches.sort(key=lambda match: (-match.score, by(match.segment, match.row)))
        return matches[:limit]

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
        """Rows that hold a term, and the scores of all rows of a segment."""
        penalties = self._penalties[number]
        scores = np.zeros(len(penalties))
        # Always in the terms' order: sums of the same numbers in another one differ a little.
        for (rows, counts), weight in zip(postings, weights, strict=True):
            scores[rows] += weight * (counts * (K1 + 1) / (counts + penalties[rows]))
        return np.flatnonzero(scores), scores


class _Found(NamedTuple):
    terms: list[Term]
    documents: list[int]
    weights: list[float]
    postings: list[list[Postings]]  # of each segment, of each term


def _best(
    segment: int, rows: NDArray[np.int64], scores: NDArray[np.float64], limit: int
) -> list[Match]:
    if limit < len(rows):
        last = np.partition(scores, -limit)[-limit]
        kept = scores >= last
        rows, scores = rows[kept], scores[kept]
    chosen = np.lexsort((rows, -scores))[:limit]
    return [Match(segment, int(rows[place]), float(scores[place])) for place in chosen]
