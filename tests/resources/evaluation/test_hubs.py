"""Hubs: what many queries return, counted by document, and how uneven that is."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.evaluation.hubs import TOP, hubness
from resources.evaluation.judged import JudgedQuery, Judgement
from resources.evaluation.rankings import Ranking


def ranked(*answers: list[int]) -> list[Ranking]:
    return [Ranking(f"q{at}", ids, [1.0] * len(ids)) for at, ids in enumerate(answers)]


@given(
    st.lists(st.lists(st.integers(0, 40), max_size=15, unique=True), max_size=30),
    st.integers(0, 200),
)
def test_the_skewness_is_that_of_all_documents(answers: list[list[int]], more: int):
    found = hubness(ranked(*answers), 41 + more)
    counts = Counter(id_ for ids in answers for id_ in ids[:TOP])
    times = np.array([counts[at] for at in range(41 + more)], float)
    apart = times - times.mean()
    wanted = (apart**3).mean() / times.std() ** 3 if times.std() else 0.0
    assert found.skewness == pytest.approx(wanted, abs=1e-9)
    assert found.returned == len(counts)
    most = [each.queries for each in found.hubs]
    assert most == sorted(most, reverse=True)
    for hub in found.hubs:
        assert hub.queries == counts[hub.id] > times.mean() + 2 * times.std()
        assert hub.share == hub.queries / len(answers)


def test_a_hub_is_told_with_how_often_it_is_right():
    answers = [[7, at + 10, at + 20] for at in range(8)]
    judged = [JudgedQuery(f"q{at}", "?", [Judgement(7, 1 if at < 3 else 0)]) for at in range(8)]
    (hub,) = hubness(ranked(*answers), 100, judged).hubs
    assert (hub.id, hub.queries, hub.share, hub.relevant) == (7, 8, 1.0, 3)


def test_only_the_ten_best_count():
    answers = [[*range(at * 100, at * 100 + 10), 7_777] for at in range(5)]
    assert hubness(ranked(*answers), 1_000).hubs == []


def test_without_queries_nothing_is_a_hub():
    found = hubness([], 0)
    assert (found.hubs, found.skewness, found.queries) == ([], 0.0, 0)
