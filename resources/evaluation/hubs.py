"""Hubs: documents that many queries return, whatever they ask.

Source: Radovanović, Nanopoulos and Ivanović, "Hubs in Space: Popular Nearest Neighbors in
High-Dimensional Data", JMLR 11 (2010): in spaces of many dimensions some points are among the
nearest of very many others. They measure it by the skewness of how often each point is.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from resources.evaluation.judged import JudgedQuery
from resources.evaluation.rankings import Ranking

TOP = 10
SHOWN = 10


@dataclass(frozen=True)
class Hub:
    """A document that more queries return than others.

    Attributes:
        id: Of the source document.
        queries: So many have it among their ten best.
        share: Of all queries.
        relevant: For so many of them it is relevant: a good answer to many, or in the way.
    """

    id: Any
    queries: int
    share: float
    relevant: int


@dataclass(frozen=True)
class Hubness:
    """How evenly answers are spread over the documents.

    Attributes:
        hubs: The most returned first; ten at most.
        skewness: Of how often each document is returned, those never returned included: near 0
            where all are alike, the higher the more a few documents answer everything.
        returned: Documents that any query returns.
        documents: All there are.
        queries: All that were asked.
    """

    hubs: Sequence[Hub]
    skewness: float
    returned: int
    documents: int
    queries: int


def hubness(
    rankings: Iterable[Ranking],
    documents: int,
    queries: Iterable[JudgedQuery] = (),
    shown: int = SHOWN,
) -> Hubness:
    """From what each query found.

    Args:
        rankings: They may stream; what is kept grows with the documents found.
        documents: How many source documents there are.
        queries: The judged ones, for what is relevant.
        shown: At most so many hubs; none that only one query returns, or that is returned no more
            often than two standard deviations above the mean.
    """
    wanted = {query.id: query.grades for query in queries}
    counts: Counter[str] = Counter()
    relevant: Counter[str] = Counter()
    ids: dict[str, Any] = {}
    asked = 0
    for ranking in rankings:
        asked += 1
        grades = wanted.get(ranking.query, {})
        for id_, name in zip(ranking.ids[:TOP], ranking.keys[:TOP], strict=True):
            ids.setdefault(name, id_)
            counts[name] += 1
            relevant[name] += name in grades
    documents = max(documents, len(counts))
    mean, deviation, skewness = _moments(counts, documents)
    often = max(1.0, mean + 2 * deviation)
    most = sorted((-count, name) for name, count in counts.items() if count > often)[:shown]
    hubs = [Hub(ids[name], -count, -count / asked, relevant[name]) for count, name in most]
    return Hubness(hubs, skewness, len(counts), documents, asked)


def _moments(counts: Counter[str], documents: int) -> tuple[float, float, float]:
    """Mean, standard deviation and skewness of how often each document is returned."""
    if not documents:
        return 0.0, 0.0, 0.0
    sizes = Counter(counts.values())
    sizes[0] += documents - len(counts)
    mean = math.fsum(size * many for size, many in sizes.items()) / documents
    second = math.fsum((size - mean) ** 2 * many for size, many in sizes.items()) / documents
    third = math.fsum((size - mean) ** 3 * many for size, many in sizes.items()) / documents
    deviation = math.sqrt(second)
    return mean, deviation, third / deviation**3 if deviation else 0.0
