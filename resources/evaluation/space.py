"""What there is to see of a space: documents, the queries among them, and what they return."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.core.keys import shown
from resources.core.visible import line
from resources.evaluation.hubs import Hubness
from resources.evaluation.landscape import Sample, Surroundings, clusters, mapped

LONELY = 20
"""Queries that nothing lies near, of however many."""

LOOKED_AT = 3
"""Of each answer's best documents, for the nearest: the first of another mode is not always it."""

_NO_VALUE = "without a value"


@dataclass(frozen=True)
class Far:
    """A query with what lies nearest to it.

    Attributes:
        query: Its text.
        vector: As it is compared, shape (columns,).
        similarity: Cosine to its nearest hit; None where it found nothing.
        nearest: Id of that hit's source document.
        answerable: Whether something was judged relevant for it.
    """

    query: str
    vector: np.ndarray
    similarity: float | None
    nearest: Any
    answerable: bool


class Loneliest:
    """Queries that nothing lies near, one after another.

    Such a query's best hit is less similar to it than 19 of 20 documents are to their nearest
    neighbour, those of the sample among themselves: it asks for something that the corpus does not
    speak of, or in words that the model does not connect with it.

    Attributes:
        level: Of `Surroundings`.
        count: How many there are; None where that cannot be said.
    """

    def __init__(self, level: float | None) -> None:
        self.level = level
        self.count: int | None = None
        self._heap: list[tuple[float, int, Far]] = []

    def add(self, query: Far) -> None:
        if self.level is None:
            return
        self.count = self.count or 0
        similarity = -2.0 if query.similarity is None else query.similarity
        if similarity < self.level:
            self.count += 1
            heapq.heappush(self._heap, (-similarity, -self.count, query))
            if len(self._heap) > LONELY:
                heapq.heappop(self._heap)

    @property
    def first(self) -> list[Far]:
        """The loneliest first; twenty at most."""
        return [query for *_, query in sorted(self._heap, key=lambda row: (-row[0], -row[1]))]


@dataclass(frozen=True)
class Lonely:
    """A query that nothing lies near; attributes as of `Far`, and its place on the map."""

    query: str
    similarity: float | None
    nearest: Any
    answerable: bool
    place: np.ndarray


@dataclass(frozen=True)
class Landscape:
    """What there is to see.

    Attributes:
        sample: Of what is stored.
        stored: Vectors that it was drawn from.
        places: Of the sample on the map, shape (n, 2).
        method: That made the map, `PCA` or `UMAP`.
        groups: Of each of the sample: the value of `by`, or words of its cluster.
        by: A carried field; empty where the groups are clusters.
        around: What lies around each.
        lonely: Queries that nothing lies near, the loneliest first; twenty at most.
        all_lonely: How many such queries there are; None where that cannot be said.
        hubness: How evenly answers are spread.
        texts: Beginnings of the texts of hubs, by key.
    """

    sample: Sample
    stored: int
    places: np.ndarray
    method: str
    groups: Sequence[str]
    by: str
    around: Surroundings
    lonely: Sequence[Lonely]
    all_lonely: int | None
    hubness: Hubness
    texts: Mapping[str, str]


def seen(
    sample: Sample,
    stored: int,
    around: Surroundings,
    far: Loneliest,
    hubness: Hubness,
    texts: Mapping[str, str],
) -> Landscape:
    """Put all of it on one map; arguments as the attributes of `Landscape`."""
    queries = [query for query in far.first if query.vector.shape == sample.vectors.shape[1:]]
    also = np.stack([query.vector for query in queries]) if queries else None
    places, theirs, by = mapped(sample.vectors, also)
    lonely = [
        Lonely(query.query, query.similarity, query.nearest, query.answerable, place)
        for query, place in zip(queries, theirs, strict=True)
    ]
    groups = sample.values if sample.field else clusters(sample)
    return Landscape(
        sample, stored, places, by, groups, sample.field, around, lonely, far.count, hubness, texts
    )


def group(value: Any) -> str:
    """Of a carried field's value; the first, where there are several."""
    if isinstance(value, list):
        value = value[0] if value else None
    return _NO_VALUE if value is None else line(shown(value), 60) or _NO_VALUE
