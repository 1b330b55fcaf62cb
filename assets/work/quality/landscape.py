"""Where documents and judged queries lie in the space: a sample of the store, and what was found.

It asks no provider and no index: the vectors are the stored ones, the queries' are kept, and so is
what the evaluation found.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assets.work.opened import Opened
from resources.batch_store.evaluations import WINDOW, Found
from resources.core.keys import key, shown
from resources.core.visible import line
from resources.core.windows import windows
from resources.evaluation.hubs import Hubness, hubness
from resources.evaluation.judged import JudgedQuery, QuerySet
from resources.evaluation.landscape import (
    SAMPLE,
    Sample,
    Surroundings,
    clusters,
    project,
    surroundings,
)
from resources.evaluation.rankings import Ranking
from resources.vector_store.drawn import asked_as, draw, nearest
from resources.vector_store.store import SOURCE_FIELD

BYTES = 64 << 20
"""Of sampled vectors."""

LOOKED_AT = 3
"""Of each answer's best documents, for the nearest: another mode's first is not always it."""

SHOWN = 20
_NO_VALUE = "without a value"


@dataclass(frozen=True)
class Lonely:
    """A query that nothing lies near.

    Attributes:
        query: Its text.
        similarity: Cosine to its nearest hit; None where it found nothing.
        nearest: Id of that hit's source document.
        place: On the map, shape (2,).
        answerable: Whether something was judged relevant for it.
    """

    query: str
    similarity: float | None
    nearest: Any
    place: np.ndarray
    answerable: bool


@dataclass(frozen=True)
class Landscape:
    """What there is to see of a space.

    Attributes:
        sample: Of what is stored.
        stored: Vectors of the pipeline.
        places: Of the sample on the map, shape (n, 2).
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
    groups: Sequence[str]
    by: str
    around: Surroundings
    lonely: Sequence[Lonely]
    all_lonely: int | None
    hubness: Hubness
    texts: dict[str, str]


def landscape(o: Opened, evaluation: str) -> Landscape:
    """Look at a sample of what is stored, and at what an evaluation found.

    Args:
        o: The pipeline.
        evaluation: Id of one whose rankings are kept.

    Raises:
        MissingFile: They are not.
        DamagedFile: They cannot be read.
    """
    sample, by = _sample(o)
    queries, stored = o.judged_queries, o.store.count()
    around = surroundings(sample)
    found = _ranked(o, evaluation)
    hubs = hubness(found, _sources(o, stored), queries)
    far, lonely = _lonely(o, evaluation, queries, around.level)
    vectors = [vector for _, vector, _ in far]
    also = np.stack(vectors) if vectors and len(sample) else None
    places, theirs = project(sample.vectors, also)
    said = [
        Lonely(query.text, similarity, near, place, query.answerable)
        for (query, _, (similarity, near)), place in zip(far, theirs, strict=False)
    ]
    groups = sample.values if by else clusters(sample)
    ids = [hub.id for hub in hubs.hubs]
    texts = _texts(o, ids)
    return Landscape(sample, stored, places, groups, by, around, said, lonely, hubs, texts)


def _sample(o: Opened) -> tuple[Sample, str]:
    by = o.evaluation.segments[0] if o.evaluation.segments else ""
    count = min(SAMPLE, BYTES // (4 * o.space.dimensions))
    rows = list(draw(o.store, o.space.id, count, by or None))
    width = max((len(row.vector) for row in rows), default=0)
    rows = [row for row in rows if len(row.vector) == width]
    rows.sort(key=lambda row: key(row.id))
    vectors = np.stack([row.vector for row in rows]) if rows else np.zeros((0, 1), np.float32)
    sample = Sample(
        vectors,
        [row.id for row in rows],
        [row.source for row in rows],
        [row.text for row in rows],
        by,
        [_value(row.value) for row in rows] if by else (),
    )
    return sample, by


def _value(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else None
    return _NO_VALUE if value is None else line(shown(value), 60) or _NO_VALUE


def _sources(o: Opened, stored: int) -> int:
    """How many source documents have a vector."""
    if not o.store.chunker:
        return stored
    stages = [{"$match": o.store.mine}, {"$group": {"_id": f"${SOURCE_FIELD}"}}, {"$count": "all"}]
    return next((row["all"] for row in o.store.collection.aggregate(stages, allowDiskUse=True)), 0)


def _ranked(o: Opened, evaluation: str) -> Iterator[Ranking]:
    for each in o.batches.rankings.read(o.name, evaluation):
        yield Ranking(each.query, each.ids, each.scores)


_Far = tuple[JudgedQuery, np.ndarray, tuple[float | None, Any]]


def _lonely(
    o: Opened, evaluation: str, queries: QuerySet, level: float | None
) -> tuple[list[_Far], int | None]:
    """The loneliest, with how many there are; a window of queries is in memory at a time."""
    if level is None or o.evaluation.mode == "text":
        return [], None
    found = o.batches.rankings.read(o.name, evaluation)
    settings, count = o.embedder.query_settings(), 0
    heap: list[tuple[float, int, _Far]] = []
    for window in windows(queries, WINDOW):
        kept = o.batches.queries.read(o.space, settings, [query.text for query in window])
        asked: dict[str, tuple[np.ndarray, list[Any]]] = {}
        for query, answer in zip(window, found, strict=False):
            vector = kept.get(query.text)
            if isinstance(vector, np.ndarray) and _of(query, answer):
                asked[query.id] = asked_as(o.store, vector), list(answer.ids[:LOOKED_AT])
        best = nearest(o.store, o.space.id, asked)
        for query in window:
            if query.id not in asked:
                continue
            near = best.get(query.id)
            similarity = near[0] if near else -1.0
            if similarity >= level:
                continue
            count += 1
            far: _Far = (query, asked[query.id][0], near or (None, None))
            heapq.heappush(heap, (-similarity, -count, far))
            if len(heap) > SHOWN:
                heapq.heappop(heap)
    return [far for *_, far in sorted(heap, key=lambda each: (-each[0], -each[1]))], count


def _of(query: JudgedQuery, answer: Found) -> bool:
    # A filter leaves out what may well lie near.
    return answer.query == query.id and not query.filter


def _texts(o: Opened, ids: Sequence[Any]) -> dict[str, str]:
    documents = o.store.sources(ids, list(o.store.text_shape.fields), o.space.id)
    return {name: line(o.store.text(each) or "", 200) for name, each in documents.items()}
