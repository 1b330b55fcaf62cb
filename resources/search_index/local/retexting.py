"""Other texts beside the same vectors: a graph takes a hundred times as long to build as words."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.search_index.filters.columns import Mask
from resources.search_index.local.changes import Changes
from resources.search_index.local.segment import Segment
from resources.search_index.local.signatures import Lookup, of_ids, unknown
from resources.search_index.local.text.building import TextBuilder
from resources.search_index.local.text.postings import TextSegment
from resources.search_index.local.text.tokens import Tokenizer
from resources.search_index.local.version import Version


class Retexting:
    """The segments of a version, to be made anew with other texts or with none.

    What is read for it has an order: first what the rows would be made of now, then the texts, then
    what the rows differ in by the version's own measure. Whatever changes in between is then either
    a difference, or is met as one by the next comparison.
    """

    def __init__(self, version: Version, tokenizer: Tokenizer | None) -> None:
        self._version = version
        self._tokenizer: Tokenizer | None = tokenizer
        parts = zip(version.segments, version.alive, strict=True)
        self._rows = [
            np.arange(len(segment)) if alive is None else np.flatnonzero(alive)
            for segment, alive in parts
        ]
        ids = [
            segment.ids[row]
            for segment, rows in zip(version.segments, self._rows, strict=True)
            for row in rows.tolist()
        ]
        self._alive_ids = of_ids(ids)
        self._lookup = Lookup(self._alive_ids)
        self._ends = np.cumsum([len(rows) for rows in self._rows])
        self._arrived: list[list[int]] = [[] for _ in version.segments]
        self._seen = np.zeros(len(ids), np.bool_)
        self._builders = [TextBuilder(tokenizer) for _ in version.segments] if tokenizer else []

    def add(self, ids: Iterable[Any], texts: Sequence[str | None]) -> None:
        """Texts of documents, in any order; of those without a row nothing is kept."""
        for text, number in zip(texts, self._lookup.rows(of_ids(ids)).tolist(), strict=True):
            if number < 0 or self._seen[number]:
                continue
            self._seen[number] = True
            at = int(np.searchsorted(self._ends, number, "right"))
            first = int(self._ends[at]) - len(self._rows[at])
            self._arrived[at].append(int(self._rows[at][number - first]))
            self._builders[at].add([text])

    def finish(self, now: Changes, differing: Sequence[Mask]) -> list[Segment]:
        """The segments, with the same rows.

        Args:
            now: What every document would be made of.
            differing: By segment (rows,), those that are not up to date by the version's measure.
        """
        made_of, lookup = now.signatures, Lookup(of_ids(now.ids))
        found = lookup.rows(self._alive_ids)
        segments, first = [], 0
        for at, (segment, rows) in enumerate(zip(self._version.segments, self._rows, strict=True)):
            numbers = found[first : first + len(rows)]
            first += len(rows)
            signatures = unknown(len(segment))
            signatures[rows[numbers >= 0]] = made_of[numbers[numbers >= 0]]
            signatures[differing[at]] = 0
            text = self._text(at) if self._builders else None
            segments.append(
                dataclasses.replace(segment, text=text, signatures=signatures, folder="", files={})
            )
        return segments

    def _text(self, at: int) -> TextSegment:
        assert self._tokenizer is not None
        rows, builder = len(self._version.segments[at]), self._builders[at]
        order = self._arrived[at]
        missing = np.setdiff1d(np.arange(rows), order).tolist()
        builder.add([None] * len(missing))
        arrived = builder.finish()
        with TextBuilder(self._tokenizer) as sorted_builder:
            sorted_builder.extend(arrived, _places([*order, *missing]))
            return sorted_builder.finish()


def _places(order: Sequence[int]) -> NDArray[np.int64]:
    """Where each number stands in an order."""
    places = np.empty(len(order), np.int64)
    places[np.array(order, np.int64)] = np.arange(len(order))
    return places
