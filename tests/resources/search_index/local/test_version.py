import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from resources.core.errors import QueryRefused, SearchIndexError
from resources.search_index.local import faiss_index
from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.version import Version
from resources.search_index.query import Hit, Query
from tests.resources.search_index.local.building import (
    SIMILARITIES,
    build,
    clustered,
    is_flat,
    scores,
    version_of,
)


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    return clustered(30_000, 32, seed=1)


@pytest.fixture(scope="module")
def labels(many: np.ndarray) -> list[Mapping[str, Any]]:
    random = np.random.default_rng(2)
    far = many[:, 0] < np.median(many[:, 0])
    return [
        {"share": share, "far": flag}
        for share, flag in zip(random.random(30_000).tolist(), far.tolist(), strict=True)
    ]


def build_graph(vectors: np.ndarray, labels: list, similarity: str) -> Version:
    index = build(
        vectors, fields=labels, paths=("share", "far"), similarity=similarity, exact_below=10_000
    )
    assert not is_flat(index)
    return index


@pytest.fixture(scope="module")
def cosine_graph(many: np.ndarray, labels: list) -> Version:
    return build_graph(many, labels, "cosine")


@pytest.fixture(scope="module", params=SIMILARITIES)
def graph(
    request: pytest.FixtureRequest, many: np.ndarray, labels: list, cosine_graph: Version
) -> Version:
    if request.param == "euclidean":
        return build_graph(many, labels, "euclidean")
    # Of vectors of unit length, FAISS builds the same graph for both: once is enough.
    shape = dataclasses.replace(cosine_graph.shape, similarity=request.param)
    return Version(shape, cosine_graph.segments)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("share", [None, 0.3])
def test_a_flat_index_is_exact(similarity: str, share: float | None) -> None:
    random = np.random.default_rng(3)
    # not of unit length: some dot products are below -1, whose score is clamped
    vectors = (random.standard_normal((3000, 48)) * 0.4).astype(np.float32)
    fields = [{"share": value} for value in random.random(3000).tolist()]
    index = build(vectors, fields=fields, paths=("share",), similarity=similarity)
    passing = np.array([share is None or field["share"] < share for field in fields])
    for query in (random.standard_normal((20, 48)) * 0.4).astype(np.float32):
        expected = np.where(passing, scores(vectors, query, similarity), -1)
        best = np.argsort(-expected, kind="stable")[:25]
        hits = index.search(
            query, Query(limit=25, filter=None if share is None else {"share": {"$lt": share}})
        )
        assert [hit.id for hit in hits] == best.tolist()
        assert [hit.score for hit in hits] == pytest.approx(expected[best].tolist(), abs=2e-7)


def test_scores_by_hand() -> None:
    vectors = [[3, 4], [-6, -8], [4, -3]]
    found = {
        similarity: {hit.id: hit.score for hit in build(vectors, similarity=similarity).search(
            [3, 4], Query(limit=3))}
        for similarity in SIMILARITIES
    }  # fmt: skip
    assert found["cosine"] == pytest.approx({0: 1, 1: 0, 2: 0.5})
    assert found["dotProduct"] == pytest.approx({0: 13, 1: 0, 2: 0.5})
    assert found["euclidean"] == pytest.approx({0: 1, 1: 1 / 226, 2: 1 / 51})


@pytest.mark.parametrize("share", [None, 0.9, 0.5, 0.2, 0.05, 0.005, 0.0002])
def test_recall_of_the_graph(
    graph: Version, many: np.ndarray, labels: list, share: float | None
) -> None:
    passing = np.array([share is None or label["share"] < share for label in labels])
    condition = None if share is None else {"share": {"$lt": share}}
    size = min(10, int(passing.sum()))
    found = 0
    queries = clustered(20, 32, seed=4)
    for query in queries:
        expected = np.where(passing, scores(many, query, graph.shape.similarity), -1)
        best = np.argsort(-expected)[:size].tolist()
        hits = graph.search(query, Query(limit=10, filter=condition))
        assert len(hits) == size
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert all(passing[hit.id] for hit in hits)
        assert [hit.score for hit in hits] == pytest.approx(
            [expected[hit.id] for hit in hits], abs=2e-7
        )
        found += len({hit.id for hit in hits} & set(best))
        exact = graph.search(query, Query(limit=10, filter=condition, exact=True))
        assert [hit.score for hit in exact] == pytest.approx(expected[best].tolist(), abs=2e-7)
    assert found / (size * len(queries)) >= 0.95


def test_recall_where_the_filter_keeps_what_is_far_from_the_query(
    cosine_graph: Version, many: np.ndarray, labels: list
) -> None:
    # half of the documents pass, none of them near the query
    side = np.array([label["far"] for label in labels])
    found = 0
    queries = [query for query in clustered(300, 32, seed=5) if query[0] > 0.2][:20]
    for query in queries:
        expected = np.where(side, scores(many, query, "cosine"), -1)
        hits = cosine_graph.search(query, Query(limit=10, filter={"far": True}))
        assert len(hits) == 10
        found += len({hit.id for hit in hits} & set(np.argsort(-expected)[:10].tolist()))
    assert found / (10 * len(queries)) >= 0.95


def test_too_few_from_the_graph_means_comparing_with_all(
    graph: Version, many: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def nothing(*args: Any, **more: Any) -> np.ndarray:
        asked.append(args)
        return np.empty(0, np.int64)

    monkeypatch.setattr(faiss_index, "search_graph", nothing)
    condition = {"share": {"$lt": 0.9}}
    hits = graph.search(many[0], Query(limit=10, filter=condition))
    assert asked
    assert hits == graph.search(many[0], Query(limit=10, filter=condition, exact=True))
    assert len(hits) == 10


@pytest.mark.parametrize("expected", [None, 3000, 10])
def test_the_kind_of_index_follows_the_real_count(expected: int | None) -> None:
    vectors = clustered(2500, 16, seed=6)
    flat = build(vectors, exact_below=2500, expected=expected)
    graph = build(vectors, exact_below=2499, expected=expected)
    assert is_flat(flat)
    assert not is_flat(graph)
    for index in (flat, graph):
        assert len(index) == 2500
        hits = index.search(vectors[7], Query(limit=3, exact=True))
        assert hits == flat.search(vectors[7], Query(limit=3))
        assert hits[0] == Hit(7, pytest.approx(1.0))


def test_equal_scores_are_ordered_by_id() -> None:
    vectors = np.tile(clustered(3, 50, seed=7), (2000, 1))
    ids = [f"{row:05}" for row in np.random.default_rng(8).permutation(6000)]
    for similarity in SIMILARITIES:
        index = build(vectors, ids=ids, similarity=similarity)
        for limit in (1, 5, 1999, 2003):
            hits = index.search(vectors[0], Query(limit=limit))
            assert [hit.id for hit in hits[:2000]] == sorted(ids[::3])[:limit]
            assert len({hit.score for hit in hits[:2000]}) == 1


def test_limits() -> None:
    index = build(clustered(30, 8, seed=9))
    query = clustered(1, 8, seed=10)[0]
    assert [len(index.search(query, Query(limit))) for limit in (30, 100)] == [30, 30]
    assert index.search(query, Query(limit=100))[:1] == index.search(query.tolist(), Query(limit=1))


@pytest.mark.parametrize(
    ("similarity", "vector", "message"),
    [
        ("cosine", [1, 2, 3], "vector of 'second' has 3 dimensions, the index 2"),
        ("cosine", [1, np.nan], "vector of 'second' holds NaN or infinity"),
        ("euclidean", [np.inf, 1], "vector of 'second' holds NaN or infinity"),
        ("euclidean", [1e39, 1], "vector of 'second' holds NaN or infinity"),
        ("cosine", [0, 0], "vector of 'second' is all zeros"),
    ],
)
def test_vectors_that_mongodb_would_skip(similarity: Any, vector: list, message: str) -> None:
    shape = IndexShape(2, similarity, ("a",))
    builder = SegmentBuilder(shape)
    builder.add(["first"], np.ones((1, 2), np.float32), [{"a": 1}])
    vectors = np.array([vector], np.float64)
    ids = ["second"]
    if len(vector) == 2:
        vectors, ids = np.vstack([[[1, 1]], vectors]), ["good", "second"]
    with pytest.raises(SearchIndexError, match=message):
        builder.add(ids, vectors, [{"a": 1}] * len(ids))
    # nothing of the batch is left behind
    assert [hit.id for hit in version_of(shape, builder).search([1, 1], Query(limit=5))] == [
        "first"
    ]


def test_zero_vectors_have_a_dot_product_and_a_distance() -> None:
    for similarity in ("dotProduct", "euclidean"):
        index = build([[0, 0], [1, 0]], similarity=similarity)
        assert len(index.search([0, 0], Query(limit=2))) == 2


def test_tiny_vectors_have_a_direction() -> None:
    index = build([[1e-30, 0], [0, 1e-30]])
    assert index.search([1e-35, 0], Query(limit=1)) == [Hit(0, 1.0)]


def test_batches_that_do_not_fit_together() -> None:
    shape = IndexShape(2, "cosine")
    builder = SegmentBuilder(shape)
    with pytest.raises(SearchIndexError, match="2 ids, 1 vectors and 1 documents"):
        builder.add([1, 2], np.ones((1, 2), np.float32), [{}])
    with pytest.raises(SearchIndexError, match="no dimensions"):
        builder.add([1, 2], np.ones(2, np.float32), [{}, {}])
    with pytest.raises(SearchIndexError, match="unknown similarity 'dot'; allowed are cosine"):
        IndexShape(2, "dot")  # type: ignore[arg-type]
    builder.add([], np.empty((0, 2), np.float32), [])
    assert len(builder.finish()) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vector": [1, 2, 3]}, "index has 2 dimensions, the query 3"),
        ({"vector": [[1, 2]]}, r"index has 2 dimensions, the query the shape \(1, 2\)"),
        ({"vector": ["x", "y"]}, "not a vector of numbers"),
        ({"vector": [np.nan, 1]}, "NaN or infinity"),
        ({"vector": [1e39, 1]}, "NaN or infinity"),
        ({"vector": [0, 0]}, "all zeros"),
        ({"limit": 0}, "at least one, not 0"),
        ({"limit": 1.5}, "at least one, not 1.5"),
        ({"limit": True}, "at least one, not True"),
        ({"limit": 10_001}, "above 10000"),
        ({"num_candidates": 4}, "from the limit, 5, to 10000, not 4"),
        ({"num_candidates": 10_001}, "not 10001"),
        ({"exact": True, "num_candidates": 10}, "leave num_candidates out"),
        ({"filter": {"b": 1}}, "names 'b', which is not a filter field"),
    ],
)
def test_queries_refused(arguments: dict[str, Any], message: str) -> None:
    index = build([[1, 0], [0, 1]], fields=[{"a": 1}, {"a": 2}], paths=("a",))
    options = {"limit": 5, **arguments}
    vector = options.pop("vector", [1, 1])
    with pytest.raises(QueryRefused, match=message):
        index.search(vector, Query(**options))


def test_an_exact_search_may_return_everything() -> None:
    index = build(clustered(11_000, 4, seed=14))
    assert len(index.search([1, 0, 0, 0], Query(limit=20_000, exact=True))) == 11_000
