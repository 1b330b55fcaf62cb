"""Formats compared on vectors whose neighbours are known."""

import numpy as np
import pytest

from resources.core.vectors import int8_scale
from resources.vector_store.format_quality import measure, of_queries, of_widths


def clustered(count: int = 600, dimensions: int = 128) -> np.ndarray:
    """Unit vectors in groups, so that there are near neighbours to lose."""
    random = np.random.default_rng(11)
    centres = random.normal(size=(count // 20, dimensions))
    rows = np.repeat(centres, 20, axis=0) + 0.6 * random.normal(size=(count, dimensions))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("similarity", ["cosine", "dotProduct", "euclidean"])
def test_coarser_is_smaller_and_loses_what_a_finer_field_wins_back(similarity):
    vectors = clustered()
    rows = {row.format: row for row in measure(vectors, 50, similarity, int8_scale(vectors))}
    assert rows["float32"].recall == rows["array"].recall == 1.0
    assert rows["float32"].bytes == 4 * 128 + 2 + 5  # the values, two bytes of type, BSON's own
    assert rows["array"].bytes > 3 * rows["float32"].bytes
    assert rows["packed_bit"].bytes < rows["int8"].bytes < rows["float32"].bytes
    assert 0.95 < rows["int8"].recall <= 1.0
    assert rows["packed_bit"].recall < rows["int8"].recall
    rescored = rows["packed_bit, rescored by float32"]
    assert rescored.recall > 0.99
    assert rescored.indexed_bytes == rows["packed_bit"].bytes
    assert rescored.bytes == rows["packed_bit"].bytes + rows["float32"].bytes


def test_recall_is_counted_against_brute_force():
    vectors = clustered(100, 16)
    scale = int8_scale(vectors)
    (bits,) = [row for row in measure(vectors, 100, "cosine", scale) if row.format == "packed_bit"]
    signs = np.where(vectors > 0, 1, -1)
    kept = []
    for row in range(100):
        others = np.delete(np.arange(100), row)
        right = others[np.argsort(-(vectors[others] @ vectors[row]), kind="stable")[:10]]
        found = others[np.argsort(-(signs[others] @ signs[row]), kind="stable")[:10]]
        kept.append(len(set(right) & set(found)) / 10)
    assert bits.recall == pytest.approx(np.mean(kept), abs=0.02)


def test_bits_need_whole_bytes():
    names = [row.format for row in measure(clustered(100, 30), 10, "cosine", 100.0)]
    assert names == ["array", "float32", "int8"]


def test_queries_of_others_and_leading_dimensions_are_measured_against_all_of_both():
    vectors = clustered()
    asked = clustered(60)[::3] + np.float32(0.01)
    rows = {row.format: row for row in of_queries(vectors, asked, "cosine", int8_scale(vectors))}
    assert rows["float32"].recall == 1.0
    assert rows["packed_bit"].recall < rows["int8"].recall <= 1.0
    widths = of_widths(vectors, asked, "dotProduct", [128, 64, 8])
    assert [row.dimensions for row in widths] == [128, 64, 8]
    whole, half, few = widths
    assert whole.recall == pytest.approx(1.0, abs=0.02), "of unit length already, nearly"
    assert whole.recall > half.recall > few.recall
    assert whole.bytes - half.bytes == 4 * 64
