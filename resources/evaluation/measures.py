"""How good rankings are: the field's own measures, with what chance alone could do.

nDCG has linear gain and a discount of log2(rank + 1), as in trec_eval; every measure is of the
answerable queries, and one that finds nothing counts 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.core.errors import EvaluationError
from resources.evaluation.judged import JudgedQuery
from resources.evaluation.rankings import Ranking

MEASURES: Mapping[str, str] = {
    "ndcg@10": "nDCG@10",
    "recall@10": "R@10",
    "recall@100": "R@100",
    "mrr@10": "RR@10",
    "success@1": "Success@1",
}
"""Our names of measures, each with that of ir_measures; the first is the one that is told first."""

RESAMPLES = 2_000
CONFIDENCE = 0.95
_SEED = 20_261_126
_WINDOW = 2_000_000
"""Numbers drawn at a time."""


@dataclass(frozen=True)
class Interval:
    """A mean, and where that of other such queries would lie.

    Attributes:
        mean: Over the queries.
        low: By bootstrap over the queries; `high` likewise, 95 of 100 lie between.
    """

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Difference:
    """Between two that answered the same queries: the second less the first.

    Attributes:
        p: How often chance alone would give one as large, by swapping the two at random.
    """

    mean: float
    low: float
    high: float
    p: float

    @property
    def significant(self) -> bool:
        """More than chance, at one in twenty."""
        return self.p < 1 - CONFIDENCE


def per_query(queries: Sequence[JudgedQuery], rankings: Iterable[Ranking]) -> dict[str, np.ndarray]:
    """Each measure of each answerable query, in the order of the queries.

    Args:
        queries: Those that are not answerable are left out.
        rankings: By the query's id; one without is of nothing found.

    Returns:
        By our name of the measure, float64 of shape (answerable queries,).

    Raises:
        EvaluationError: ir_measures is not installed.
    """
    library = _library()
    measures = {name: library.parse_measure(theirs) for name, theirs in MEASURES.items()}
    names = {measure: name for name, measure in measures.items()}
    answerable = [query for query in queries if query.answerable]
    # Queries and documents are named by number: an id may hold what no run file can. The library
    # takes a zero for the end of a name, and half a character ends the process.
    rows = {query.id: str(row) for row, query in enumerate(answerable)}
    names_of: dict[str, dict[str, str]] = {}
    qrels: dict[str, dict[str, int]] = {}
    for query in answerable:
        named = names_of[rows[query.id]] = {each: str(at) for at, each in enumerate(query.grades)}
        qrels[rows[query.id]] = {named[each]: grade for each, grade in query.grades.items()}
    # Ties are broken already: every place has a score of its own.
    run = {
        row: {names_of[row].get(name, f"-{at}"): float(-at) for at, name in enumerate(each.keys)}
        for each in rankings
        if (row := rows.get(each.query)) is not None
    }
    found = {name: np.zeros(len(answerable)) for name in MEASURES}
    if answerable:
        for value in library.iter_calc(list(measures.values()), qrels, run):
            found[names[value.measure]][int(value.query_id)] = value.value
    return found


def interval(values: np.ndarray) -> Interval:
    """The mean of one measure over queries, with its bootstrap interval.

    The same every time, and in whatever order the queries come.
    """
    ordered = np.sort(values)
    low, high = np.quantile(_resampled(ordered), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(ordered.mean()), float(low), float(high))


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """How much better the second is than the first, query by query.

    The same every time, and in whatever order the queries come.

    The interval is the paired bootstrap's, p the paired randomization test's (Smucker, Allan and
    Carterette, "A Comparison of Statistical Significance Tests for Information Retrieval
    Evaluation", CIKM 2007).

    Args:
        first: One measure of each query.
        second: The same of the other, in the same order.
    """
    apart = np.sort(np.asarray(second, np.float64) - np.asarray(first, np.float64))
    means = _resampled(apart)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    mean = float(apart.mean())
    draw, beyond = np.random.default_rng(_SEED), 0
    for count in _windows(len(apart)):
        signs = draw.integers(0, 2, (count, len(apart)), dtype=np.int8) * 2 - 1
        beyond += int((np.abs(signs @ apart) >= abs(apart.sum()) - 1e-9).sum())
    # The arrangement that was seen is one of those that chance could give.
    return Difference(mean, float(low), float(high), (beyond + 1) / (RESAMPLES + 1))


def _resampled(values: np.ndarray) -> np.ndarray:
    draw, means = np.random.default_rng(_SEED), []
    for count in _windows(len(values)):
        rows = draw.integers(0, len(values), (count, len(values)))
        means.append(values[rows].mean(axis=1))
    return np.concatenate(means)


def _windows(width: int) -> Iterable[int]:
    """How many resamples at a time, so that memory is bounded whatever their width."""
    at_once = max(1, _WINDOW // max(1, width))
    for start in range(0, RESAMPLES, at_once):
        yield min(at_once, RESAMPLES - start)


def _library() -> Any:
    try:
        import ir_measures
    except ImportError as error:
        raise EvaluationError(
            "measuring needs ir_measures and pytrec-eval-terrier, which are not installed: "
            "`pip install 'mongodb-embedding-pipelines[evaluation]'`, in a checkout "
            "`.venv/bin/pip install -c constraints.txt -e '.[evaluation]'`"
        ) from error
    return ir_measures
