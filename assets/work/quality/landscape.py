"""Where documents and judged queries lie in the space: a sample of the store, and what was found.

It asks no provider and no index: the vectors are the stored ones, the queries' are kept, and so is
what the evaluation found.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from assets.work.opened import Opened
from resources.batch_store.evaluations import WINDOW, Found
from resources.core.keys import key
from resources.core.visible import line
from resources.core.windows import windows
from resources.evaluation.hubs import hubness
from resources.evaluation.judged import JudgedQuery, QuerySet
from resources.evaluation.landscape import SAMPLE, Sample, surroundings
from resources.evaluation.rankings import Ranking
from resources.evaluation.space import LOOKED_AT, Far, Landscape, Loneliest, group, seen
from resources.vector_store.drawn import asked_as, draw, nearest
from resources.vector_store.store import SOURCE_FIELD

BYTES = 64 << 20
"""Of sampled vectors."""


def landscape(o: Opened, evaluation: str) -> Landscape:
    """Look at a sample of what is stored, and at what an evaluation found.

    Args:
        o: The pipeline.
        evaluation: Id of one whose rankings are kept.

    Raises:
        MissingFile: They are not.
        DamagedFile: They cannot be read.
    """
    sample = _sample(o)
    queries, stored = o.judged_queries, o.store.count()
    around = surroundings(sample)
    hubs = hubness(_ranked(o, evaluation), _sources(o, stored), queries)
    far = _lonely(o, evaluation, queries, around.level)
    return seen(sample, stored, around, far, hubs, _texts(o, [hub.id for hub in hubs.hubs]))


def _sample(o: Opened) -> Sample:
    by = o.evaluation.segments[0] if o.evaluation.segments else ""
    count = min(SAMPLE, BYTES // (4 * o.space.dimensions))
    rows = list(draw(o.store, o.space.id, count, by or None))
    width = max((len(row.vector) for row in rows), default=0)
    rows = [row for row in rows if len(row.vector) == width]
    rows.sort(key=lambda row: key(row.id))
    vectors = np.stack([row.vector for row in rows]) if rows else np.zeros((0, 1), np.float32)
    return Sample(
        vectors,
        [row.id for row in rows],
        [row.source for row in rows],
        [row.text for row in rows],
        by,
        [group(row.value) for row in rows] if by else (),
    )


def _sources(o: Opened, stored: int) -> int:
    """How many source documents have a vector."""
    if not o.store.chunker:
        return stored
    stages = [{"$match": o.store.mine}, {"$group": {"_id": f"${SOURCE_FIELD}"}}, {"$count": "all"}]
    return next((row["all"] for row in o.store.collection.aggregate(stages, allowDiskUse=True)), 0)


def _ranked(o: Opened, evaluation: str) -> Iterator[Ranking]:
    for each in o.batches.rankings.read(o.name, evaluation):
        yield Ranking(each.query, each.ids, each.scores)


def _lonely(o: Opened, evaluation: str, queries: QuerySet, level: float | None) -> Loneliest:
    """A window of queries is in memory at a time."""
    lonely = Loneliest(level)
    if level is None or o.evaluation.mode == "text":
        return lonely
    found, settings = o.batches.rankings.read(o.name, evaluation), o.embedder.query_settings()
    for window in windows(queries, WINDOW):
        kept = o.batches.queries.read(o.space, settings, [query.text for query in window])
        asked: dict[str, tuple[np.ndarray, list[Any]]] = {}
        for query, answer in zip(window, found, strict=False):
            vector = kept.get(query.text)
            if isinstance(vector, np.ndarray) and _of(query, answer):
                asked[query.id] = asked_as(o.store, vector), list(answer.ids[:LOOKED_AT])
        best = nearest(o.store, o.space.id, asked)
        for query in window:
            if query.id in asked:
                similarity, near = best.get(query.id, (None, None))
                lonely.add(Far(query.text, asked[query.id][0], similarity, near, query.answerable))
    return lonely


def _of(query: JudgedQuery, answer: Found) -> bool:
    # A filter leaves out what may well lie near.
    return answer.query == query.id and not query.filter


def _texts(o: Opened, ids: Sequence[Any]) -> dict[str, str]:
    documents = o.store.sources(ids, list(o.store.text_shape.fields), o.space.id)
    return {name: line(o.store.text(each) or "", 200) for name, each in documents.items()}
