"""Queries that one row answers worse than another, with what they find here and there."""

from collections.abc import Sequence

import numpy as np

from assets.work.evaluating.figures import Changed
from assets.work.evaluating.measuring import Measured
from assets.work.evaluating.sample import Sample
from resources.core.keys import key, shown
from resources.evaluation.judged import JudgedQuery
from resources.evaluation.measures import MEASURES
from resources.evaluation.rankings import Ranking

PLACES = 10
"""Of each answer that are shown, as the first measure looks at them."""
EXCERPT = 200
"""Characters of a document's text."""


def changed(
    sample: Sample, first: Measured, other: Measured, *, way: int, count: int
) -> Sequence[Changed]:
    """The queries that lost most by the first measure, the worst first.

    Args:
        sample: That both were measured on.
        first: What it is compared with.
        other: The row.
        way: In which of the sample's ways documents are shown as texts.
        count: At most so many.
    """
    measure = next(iter(MEASURES))
    before, now = first.values[measure], other.values[measure]
    order = np.argsort(now - before, kind="stable")[:count]
    wanted = [int(at) for at in order if now[at] < before[at]]
    if not wanted:
        return []
    queries: dict[int, JudgedQuery] = {}
    start = 0
    for window in sample.queries(1_000):
        queries |= {at: window[at - start] for at in wanted if 0 <= at - start < len(window)}
        start += len(window)
    there, here = _at(first, wanted), _at(other, wanted)
    found = []
    for at in wanted:
        query = queries[at]
        seen = {*there[at].keys[:PLACES], *here[at].keys[:PLACES]}
        missed = [
            sample.text(key(each.id), way) or shown(each.id)
            for each in query.judgements
            if each.grade > 0 and key(each.id) not in seen
        ]
        found.append(
            Changed(
                query.id,
                query.text,
                (float(before[at]), float(now[at])),
                _shown(sample, query, there[at], way),
                _shown(sample, query, here[at], way),
                [each[:EXCERPT] for each in missed[:PLACES]],
            )
        )
    return found


def _at(row: Measured, places: Sequence[int]) -> dict[int, Ranking]:
    wanted = set(places)
    return {at: each for at, each in enumerate(row.rankings()) if at in wanted}


def _shown(
    sample: Sample, query: JudgedQuery, ranking: Ranking, way: int
) -> list[tuple[str, bool]]:
    grades = query.grades
    return [
        ((sample.text(name, way) or shown(document))[:EXCERPT], name in grades)
        for name, document in zip(ranking.keys[:PLACES], ranking.ids[:PLACES], strict=True)
    ]
