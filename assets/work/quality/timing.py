"""How long a single search takes."""

import time
from collections.abc import Sequence

import numpy as np

from assets.work.opened import Opened
from assets.work.searching import Question, Searcher

SEARCHES = 30
WARM_UP = 3
PAID_SEARCHES = 5
"""So many where each text that is embedded, or each reranking, is paid for."""
LIMIT = 10


def latency(o: Opened, searcher: Searcher, questions: Sequence[Question]) -> dict[str, float]:
    """Seconds of searches for ten, one at a time: `p50`, `p95`, and `embedded_…` for both.

    The first two are of the search alone, with a vector that is known; the others embed the query
    as well. Some searches before warm up what is loaded on first use.
    """
    settings = o.evaluation
    if settings.rerank and o.reranker.chosen and o.reranker.facts().paid:
        questions = questions[:PAID_SEARCHES]
    some = [questions[at % len(questions)] for at in range(WARM_UP)]
    timed = questions[:SEARCHES]

    def once(question: Question, *, embed: bool) -> float:
        start = time.perf_counter()
        searcher.search(
            question.text if embed else question,
            limit=LIMIT,
            mode=settings.mode,
            rerank=settings.rerank,
            filter=question.filter,
        )
        return time.perf_counter() - start

    for question in some:
        once(question, embed=False)
    alone = [once(question, embed=False) for question in timed]
    found = _percentiles("", alone)
    if settings.mode == "text":
        return found
    if o.embedder.facts().usd_per_million != 0:
        timed = timed[:PAID_SEARCHES]
    once(timed[0], embed=True)
    return {**found, **_percentiles("embedded_", [once(each, embed=True) for each in timed])}


def _percentiles(name: str, seconds: Sequence[float]) -> dict[str, float]:
    half, most = np.quantile(seconds, [0.5, 0.95])
    return {f"{name}p50": float(half), f"{name}p95": float(most)}
