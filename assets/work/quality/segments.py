"""Figures by groups of queries."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from resources.core.keys import shown
from resources.evaluation.judged import JudgedQuery
from resources.evaluation.measures import MEASURES, interval
from resources.sources.fields import MISSING, lookup

WORDS = "words in the query"
LENGTHS = ((2, "1-2"), (5, "3-5"), (10, "6-10"))
_LONGER = "over 10"
VALUES = 20
"""Of a segment; the others are counted together."""
_OTHERS = "(others)"
_WIDTH = 60


class Segments:
    """Which queries belong together.

    Args:
        places: Of carried fields, by name: where they lie in a stored document.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = places
        self._rows: dict[tuple[str, str], list[int]] = {}

    def add(self, row: int, query: JudgedQuery, document: Mapping[str, Any] | None) -> None:
        """A query by its row among all figures, with its first relevant document."""
        found = [(WORDS, length(query.text)), *query.segments.items()]
        for name, place in self._places.items():
            found += [(name, value) for value in _values(document, place)]
        for name, value in dict.fromkeys(found):
            self._rows.setdefault((name, value), []).append(row)

    def table(self, values: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
        """`{segment, value, queries, <measure>: mean, low, high}`, the largest first.

        `low` and `high` are of the first measure. Of many values the rarer ones stand together.
        """
        found = []
        for (name, value), rows in self._few():
            means = {each: float(np.sort(values[each][rows]).mean()) for each in values}
            first = interval(values[next(iter(MEASURES))][rows])
            interval_of = {"low": first.low, "high": first.high}
            row = {"segment": name, "value": value, "queries": len(rows), **means, **interval_of}
            found.append(row)
        return found

    def _few(self) -> Iterable[tuple[tuple[str, str], Sequence[int]]]:
        by_name: dict[str, Counter[str]] = {}
        for (name, value), rows in self._rows.items():
            by_name.setdefault(name, Counter())[value] = len(rows)
        for name, counts in by_name.items():
            ordered = [value for _, value in sorted((-n, value) for value, n in counts.items())]
            if name == WORDS:
                ordered = [
                    value for value in [*(v for _, v in LENGTHS), _LONGER] if value in counts
                ]
            for value in ordered[:VALUES]:
                yield (name, value), self._rows[name, value]
            rest = [row for value in ordered[VALUES:] for row in self._rows[name, value]]
            if rest:
                yield (name, _OTHERS), sorted(set(rest))


def length(text: str) -> str:
    """Of a query, by words."""
    words = len(text.split())
    return next((name for most, name in LENGTHS if words <= most), _LONGER)


def _values(document: Mapping[str, Any] | None, place: str) -> list[str]:
    if document is None:
        return []
    value = lookup(document, place)
    if value is MISSING or value is None:
        return ["(none)"]
    values = value if isinstance(value, list) else [value]
    return [" ".join(shown(each).split())[:_WIDTH] for each in values[:VALUES]]
