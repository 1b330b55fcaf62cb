"""Where a candidate's vectors of the sample lie, and the queries among them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.work.evaluating.asking import Questions
from assets.work.evaluating.candidates import Candidate
from assets.work.evaluating.index import Rows
from assets.work.evaluating.measuring import Measured
from assets.work.evaluating.sample import Sample
from assets.work.evaluating.vectors import Vectors
from resources.batch_store.evaluations import WINDOW
from resources.core.keys import key
from resources.core.vectors import Element, as_floats
from resources.core.visible import line
from resources.evaluation import landscape as pictured
from resources.evaluation.hubs import hubness
from resources.evaluation.judged import JudgedQuery
from resources.evaluation.rankings import Ranking
from resources.evaluation.space import LOOKED_AT, Far, Landscape, Loneliest, group, seen

BYTES = 64 << 20
"""Of vectors that are looked at."""

TEXT = 2_000


def landscape(
    candidate: Candidate,
    sample: Sample,
    rows: Rows,
    vectors: Vectors,
    questions: Questions,
    measured: Measured,
) -> Landscape:
    """Look at some of the vectors, and at what the queries found.

    Args:
        candidate: Whose.
        sample: Documents and queries.
        rows: What of it can be found.
        vectors: All of them, while they are open.
        questions: The queries' vectors.
        measured: A row of the candidate, whose rankings can be read.
    """
    element = candidate.space.element
    some = _some(rows, vectors, candidate.space.dimensions)
    looked = _looked(candidate, rows, vectors, some)
    around = pictured.surroundings(looked)
    judged = (query for window in sample.queries(WINDOW) for query in window)
    hubs = hubness(measured.rankings(), sample.drawn.documents, judged)
    found = Loneliest(around.level)
    if around.level is not None:
        rankings = measured.rankings()
        places = _places(rows, vectors)
        for window in sample.queries(WINDOW):
            # Rankings are of the answerable queries, and so are these windows.
            for query, vector in zip(window, questions.vectors(window), strict=True):
                ranking = next(rankings)
                if vector is not None and not query.filter:
                    wide = as_floats(vector, element)
                    found.add(_far(query, wide, ranking, places, vectors, element))
    numbers = _numbers(rows, [hub.id for hub in hubs.hubs])
    texts = {name: line(rows.pieces.text(row), 200) for name, row in numbers.items()}
    return seen(looked, rows.pieces.rows, around, found, hubs, texts)


def _some(rows: Rows, vectors: Vectors, dimensions: int) -> np.ndarray:
    """Rows that have a vector, evenly spread: the sample was drawn by lot already."""
    known = np.flatnonzero(rows.places >= 0)
    known = known[vectors.made[rows.places[known]]]
    count = min(len(known), pictured.SAMPLE, BYTES // (4 * dimensions))
    return known[np.linspace(0, len(known) - 1, count).astype(int)] if count else known[:0]


def _looked(
    candidate: Candidate, rows: Rows, vectors: Vectors, some: np.ndarray
) -> pictured.Sample:
    segments, element = candidate.o.evaluation.segments, candidate.space.element
    by = segments[0] if segments and segments[0] in candidate.carried else ""
    texts, groups = [], []
    for row in some.tolist():
        for text, fields in rows.pieces.documents_of(row, row + 1):
            texts.append(text[:TEXT])
            groups.append(group(fields.get(by)) if by else "")
    return pictured.Sample(
        as_floats(np.asarray(vectors.values[rows.places[some]]), element),
        [rows.ids[row] for row in some.tolist()],
        [rows.sources[row] for row in some.tolist()],
        texts,
        by,
        groups if by else (),
    )


def _places(rows: Rows, vectors: Vectors) -> Mapping[str, Sequence[int]]:
    """Rows of vectors of each source document."""
    found: dict[str, list[int]] = {}
    for source, place in zip(rows.sources, rows.places.tolist(), strict=True):
        if place >= 0 and vectors.made[place]:
            found.setdefault(key(source), []).append(place)
    return found


def _far(
    query: JudgedQuery,
    vector: np.ndarray,
    ranking: Ranking,
    places: Mapping[str, Sequence[int]],
    vectors: Vectors,
    element: Element,
) -> Far:
    best: tuple[float | None, Any] = (None, None)
    for source in ranking.ids[:LOOKED_AT]:
        there = list(places.get(key(source), ()))
        if not there:
            continue
        near = pictured.unit(as_floats(np.asarray(vectors.values[there]), element))
        similarity = float((near @ pictured.unit(vector[None])[0]).max())
        if best[0] is None or similarity > best[0]:
            best = (similarity, source)
    return Far(query.text, vector, *best, query.answerable)


def _numbers(rows: Rows, ids: Sequence[Any]) -> Mapping[str, int]:
    wanted = {key(each) for each in ids}
    found: dict[str, int] = {}
    for row, source in enumerate(rows.sources) if wanted else ():
        name = key(source)
        if name in wanted:
            found.setdefault(name, row)
    return found
