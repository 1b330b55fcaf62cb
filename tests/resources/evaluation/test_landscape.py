"""A sample's map, groups and surroundings: what they say, and the same every time."""

import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.evaluation import landscape as module
from resources.evaluation.landscape import (
    Sample,
    clusters,
    mapped,
    project,
    surroundings,
    unit,
)
from resources.evaluation.space import LONELY, Far, Loneliest

RNG = np.random.default_rng(7)


def sample(vectors: Any, sources: Any = None, texts: Any = None) -> Sample:
    rows = np.asarray(vectors, np.float32)
    ids = list(range(len(rows)))
    return Sample(rows, ids, sources or ids, texts or [f"text {at}" for at in ids])


def clouds(count: int, each: int, columns: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Groups far from one another, with the group of each row."""
    of = np.repeat(np.arange(count), each)
    middles = np.eye(columns)[:count] * 5
    return middles[of] + RNG.standard_normal((len(of), columns)) * 0.2, of


matrices = st.tuples(st.integers(0, 25), st.integers(1, 8), st.integers(0, 2**32 - 1)).map(
    lambda of: np.random.default_rng(of[2]).choice([0, 1, -1, 0.5, 1e-30, 1e30, np.nan], of[:2])
)


@given(matrices)
@settings(deadline=None)
def test_whatever_the_vectors_all_of_it_can_be_told(rows: np.ndarray):
    some = sample(rows)
    places, _ = project(some.vectors)
    assert places.shape == (len(rows), 2)
    assert np.abs(places).max(initial=0) <= 1
    again, _ = project(some.vectors.copy())
    assert np.array_equal(places, again)
    found = surroundings(some)
    assert found == surroundings(some)
    assert len(found.outliers) == (0 if len(rows) < 2 else min(len(rows), module.SHOWN))
    assert len(clusters(some)) == len(rows)


def test_the_map_is_that_of_a_full_decomposition():
    rows = unit(RNG.standard_normal((200, 40)) * np.linspace(3, 0.1, 40)).astype(np.float64)
    places, also = project(rows, rows[:5])
    middle = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(middle, full_matrices=False)
    for at in range(2):
        theirs = middle @ directions[at]
        assert abs(np.corrcoef(places[:, at], theirs)[0, 1]) == pytest.approx(1, abs=1e-4)
    assert also == pytest.approx(places[:5], abs=1e-5)


def test_the_map_turns_the_same_way_whatever_the_order():
    rows, _ = clouds(4, 20)
    order = RNG.permutation(len(rows))
    places, _ = project(rows)
    shuffled, _ = project(rows[order])
    assert shuffled == pytest.approx(places[order], abs=1e-4)


def test_clusters_are_named_by_the_words_that_only_they_have():
    rows, of = clouds(4, 60)
    topics = ["bicycle tyre", "bread dough", "mountain summit", "robot film"]
    texts = [f"the {topics[group]} number{at}" for at, group in enumerate(of)]
    names = clusters(sample(rows, texts=texts))
    assert names == clusters(sample(rows, texts=texts))
    for group, topic in enumerate(topics):
        mine = {name for name, other in zip(names, of, strict=True) if other == group}
        assert len(mine) == 1
        assert set(topic.split()) <= set(mine.pop().split(" (")[0].split(", "))


def test_a_cluster_without_words_has_a_name_too():
    rows, _ = clouds(4, 20)
    names = clusters(sample(rows, texts=["12 34"] * 80))
    assert {name.split(" (")[0] for name in names} == {"without words"}
    assert len(set(names)) > 1


def test_near_duplicates_are_of_different_documents():
    rows, _ = clouds(3, 10)
    rows = np.concatenate([rows, rows[:2], rows[5:6]])
    sources: list[Any] = list(range(30))
    found = surroundings(sample(rows, [*sources, 100, 101, 5]), alike=0.9999)
    assert [(pair.first, pair.second) for pair in found.pairs] == [(0, 30), (1, 31)]
    assert found.alike == 2
    assert found.pairs[0].similarity == pytest.approx(1, abs=1e-5)


def test_ids_are_the_same_when_mongodb_says_so():
    rows, _ = clouds(2, 2)
    assert surroundings(sample(rows, [1, 1.0, 2, "1"]), alike=0.9).alike == 1


def test_all_alike_is_counted_and_only_some_is_told():
    found = surroundings(sample(np.ones((500, 4))))
    assert found.alike == 500 * 499 // 2
    assert len(found.pairs) == module.SHOWN


def test_what_is_far_from_all_is_an_outlier(monkeypatch: pytest.MonkeyPatch):
    rows, _ = clouds(3, 20)
    rows[7] = -rows.sum(axis=0)
    found = surroundings(sample(rows))
    assert found.outliers[0].row == 7
    assert found.outliers[0].similarity < found.usual
    monkeypatch.setattr(module, "_AT_ONCE", 4 * len(rows) * 7)  # in blocks of seven rows
    blocks = surroundings(sample(rows))
    assert [each.row for each in blocks.outliers] == [each.row for each in found.outliers]
    assert blocks.usual == pytest.approx(found.usual)


def test_nothing_lies_near_a_query_that_is_farther_than_documents_are_from_each_other():
    rows, _ = clouds(3, 20)
    level = surroundings(sample(rows)).level
    assert level is not None
    assert level > 0.9
    far = Loneliest(level)
    for at, similarity in enumerate([0.99, 0.2, None, 0.1]):
        far.add(Far(f"q{at}", rows[0], similarity, at, True))
    assert [query.query for query in far.first] == ["q2", "q3", "q1"]
    assert far.count == 3
    assert surroundings(sample(rows[:10])).level is None  # too few to say


def test_of_many_queries_that_nothing_lies_near_the_loneliest_are_kept():
    far = Loneliest(0.5)
    for at in range(1_000):
        far.add(Far(f"q{at}", np.zeros(2), (at * 7 % 1_000) / 1_000, None, True))
    assert far.count == 500
    assert [query.similarity for query in far.first] == [at / 1_000 for at in range(LONELY)]
    silent = Loneliest(None)
    silent.add(Far("q", np.zeros(2), 0.0, None, True))
    assert (silent.count, silent.first) == (None, [])


class Umap:
    """In place of a library that is not installed here: it keeps what it is asked for."""

    asked: ClassVar[list[Any]] = []

    def __init__(self, **options: Any) -> None:
        self.asked.append(options)

    def fit_transform(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(rows)
        return rows[:, :2] * 3 + 7


def test_umap_makes_the_map_where_it_is_installed(monkeypatch: pytest.MonkeyPatch):
    rows, _ = clouds(3, 10)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    places, theirs, method = mapped(rows, rows[:2])
    assert method == "UMAP"
    assert np.array_equal(theirs, places[:2])
    assert np.abs(places).max() == 1
    assert Umap.asked[0]["random_state"] is not None
    assert Umap.asked[1].shape == (32, 32)
    monkeypatch.setitem(sys.modules, "umap", None)
    *pca, method = mapped(rows, rows[:2])
    assert method == "PCA"
    assert np.array_equal(pca[0], project(rows)[0])
