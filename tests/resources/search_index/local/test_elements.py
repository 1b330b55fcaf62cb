"""The local index over int8 vectors and packed bits, against brute force."""

from typing import Any

import numpy as np
import pytest

from resources.core.errors import QueryRefused, SearchIndexError
from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.shape import IndexShape
from resources.search_index.query import Query
from tests.resources.search_index.local.building import load, save, version_of

WIDTH = 64
LEGAL = [
    ("int8", "cosine"),
    ("int8", "dotProduct"),
    ("int8", "euclidean"),
    ("packed_bit", "euclidean"),
]


def vectors(element: str, count: int = 400) -> np.ndarray:
    floats = np.random.default_rng(5).normal(size=(count, WIDTH))
    if element == "int8":
        return np.clip(np.rint(floats * 40), -128, 127).astype(np.int8)
    return np.packbits(floats > 0, axis=1)


def built(element: Any, similarity: Any, *, exact_below: int = 1_000, count: int = 400):
    shape = IndexShape(WIDTH, similarity, ("even",), exact_below, element=element)
    builder = SegmentBuilder(shape)
    rows = vectors(element, count)
    for start in range(0, count, 150):
        part = range(start, min(start + 150, count))
        builder.add(list(part), rows[part.start : part.stop], [{"even": n % 2 == 0} for n in part])
    return version_of(shape, builder), rows


def brute_force(element: str, similarity: str, rows: np.ndarray, query: np.ndarray) -> np.ndarray:
    """MongoDB's formulas, one number after the other."""
    found = []
    for row in rows:
        if element == "packed_bit":
            pairs = zip(np.unpackbits(row), np.unpackbits(query), strict=True)
            found.append(sum(int(a == b) for a, b in pairs) / WIDTH)
            continue
        a, b = [int(value) for value in row], [int(value) for value in query]
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        if similarity == "dotProduct":
            found.append(0.5 + dot / (WIDTH * 2**15))
        elif similarity == "cosine":
            lengths = (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
            found.append((1 + dot / lengths) / 2)
        else:
            found.append(1 / (1 + sum((x - y) ** 2 for x, y in zip(a, b, strict=True))))
    return np.array(found)


@pytest.mark.parametrize(("element", "similarity"), LEGAL)
def test_scores_are_those_of_the_formulas(element, similarity):
    index, rows = built(element, similarity)
    query = rows[17]
    wanted = brute_force(element, similarity, rows, query)
    hits = index.search(query, Query(limit=10))
    assert hits[0].id == 17
    best = np.lexsort((np.arange(len(wanted)), -wanted.astype(np.float32)))[:10]
    assert [hit.score for hit in hits] == pytest.approx(wanted[best].tolist(), rel=1e-5)
    if element == "packed_bit":  # many ties: the lower id comes first
        assert [hit.id for hit in hits] == best.tolist()


@pytest.mark.parametrize(("element", "similarity"), LEGAL)
def test_a_filter_a_graph_and_a_saved_index_change_no_score(element, similarity, tmp_path):
    flat, rows = built(element, similarity)
    graph, _ = built(element, similarity, exact_below=0)
    save(graph, str(tmp_path / "index"))
    loaded = load(str(tmp_path / "index"))
    assert loaded.shape.element == element
    query = rows[3]
    scores = {hit.id: hit.score for hit in flat.search(query, Query(limit=400))}
    for index in (graph, loaded):
        hits = index.search(query, Query(limit=20, num_candidates=100, filter={"even": False}))
        assert len(hits) == 20
        assert all(hit.id % 2 == 1 and hit.score == scores[hit.id] for hit in hits)


@pytest.mark.parametrize("element", ["int8", "packed_bit"])
def test_a_query_of_another_type_or_width_is_refused(element):
    index, rows = built(element, "euclidean")
    with pytest.raises(QueryRefused, match=f"holds {element} vectors, the query is of float32"):
        index.search(rows[0].astype(np.float32), Query(limit=1))
    half = rows[0][: len(rows[0]) // 2]
    with pytest.raises(QueryRefused, match="64 dimensions, the query 32"):
        index.search(half, Query(limit=1))


@pytest.mark.parametrize("similarity", ["cosine", "dotProduct"])
def test_bits_know_only_one_similarity(similarity):
    with pytest.raises(SearchIndexError, match="compared by euclidean only"):
        built("packed_bit", similarity)


def test_an_empty_index_of_bits_finds_nothing():
    index, _ = built("packed_bit", "euclidean", count=0)
    assert index.search(np.zeros(8, np.uint8), Query(limit=3)) == []
