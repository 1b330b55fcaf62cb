"""Element types, their BSON forms, and which of them may be indexed how."""

import numpy as np
import pytest
from bson.binary import Binary

from resources.core.errors import ConfigurationError
from resources.core.vectors import (
    check_dimensions,
    check_dtype,
    convert,
    dtype_of,
    from_bson,
    int8_scale,
    stored_bytes,
    to_bson,
)

VECTORS = np.random.default_rng(3).normal(size=(50, 1024)).astype(np.float32)


@pytest.mark.parametrize(
    ("dtype", "row", "size"),
    [
        ("float32", VECTORS[0], 4 * 1024 + 2),
        ("int8", np.arange(-128, 128).repeat(4).astype(np.int8), 1024 + 2),
        # bytes above 127 are what PyMongo refuses of a NumPy array
        ("packed_bit", np.arange(128, 256).astype(np.uint8), 128 + 2),
    ],
)
def test_a_vector_comes_back_as_it_was_stored(dtype, row, size):
    stored = to_bson(row, dtype)
    assert isinstance(stored, Binary)
    assert len(stored) == size
    assert dtype_of(stored) == dtype
    back = from_bson(stored)
    assert back.dtype == row.dtype
    assert np.array_equal(back, row)


def test_an_array_holds_the_same_numbers_and_takes_three_times_the_room():
    stored = to_bson(VECTORS[0], "array")
    assert isinstance(stored, list)
    assert np.array_equal(from_bson(stored), VECTORS[0])
    assert stored_bytes(VECTORS[0], "array") > 3 * stored_bytes(VECTORS[0], "float32")


def test_what_is_no_vector_is_an_error():
    assert dtype_of("text") is None
    with pytest.raises(ValueError, match="type str is no vector"):
        from_bson("text")


def test_bits_are_the_signs_and_zero_gives_none():
    found, clipped = convert(np.array([[1, -1, 0, 2, -3, 4, -5, 0.1]]), "float32", "packed_bit")
    assert found.tolist() == [[0b10010101]]
    assert clipped == 0


def test_int8_keeps_directions_by_one_scale_and_counts_what_it_clips():
    scale = int8_scale(VECTORS[:25])
    small, clipped = convert(VECTORS, "float32", "int8", scale=scale)
    assert small.dtype == np.int8
    assert np.abs(small).max() == 127
    outside = np.count_nonzero(np.rint(np.abs(VECTORS) * np.float32(scale)) > 127)
    assert clipped == outside
    # one scale for all dimensions bends nothing: dot products keep their proportions
    exact = VECTORS @ VECTORS.T
    kept = (small.astype(float) @ small.T.astype(float)) / scale**2
    assert np.corrcoef(exact.ravel(), kept.ravel())[0, 1] > 0.999


def test_vectors_do_not_become_finer():
    with pytest.raises(ValueError, match="cannot become float32"):
        convert(np.zeros((1, 8), np.int8), "int8", "float32")


@pytest.mark.parametrize(
    ("dtype", "similarity", "quantization", "dimensions", "message"),
    [
        ("packed_bit", "cosine", "none", 64, "similarity: euclidean"),
        ("packed_bit", "dotProduct", "none", 64, "similarity: euclidean"),
        ("packed_bit", "euclidean", "none", 60, "multiple of 8"),
        ("packed_bit", "euclidean", "binary", 64, "remove one of the two"),
        ("int8", "cosine", "scalar", 64, "remove one of the two"),
        ("float32", "cosine", "binary", 60, "multiple of 8"),
        ("int8", "cosine", "binary", 60, "multiple of 8"),
        ("array", "cosine", "none", 8193, "at most 8192"),
    ],
)
def test_what_the_server_would_leave_out_is_refused(
    dtype, similarity, quantization, dimensions, message
):
    with pytest.raises(ConfigurationError, match=message):  # noqa: PT012  (one of the two)
        check_dtype(dtype, similarity, quantization)
        check_dimensions(dimensions, dtype, quantization)


@pytest.mark.parametrize(
    ("dtype", "similarity", "quantization"),
    [
        ("packed_bit", "euclidean", "none"),
        *(
            ("int8", similarity, quantization)
            for similarity in ("cosine", "dotProduct", "euclidean")
            for quantization in ("none", "binary")
        ),
        *(
            (dtype, similarity, quantization)
            for dtype in ("float32", "array")
            for similarity in ("cosine", "dotProduct", "euclidean")
            for quantization in ("none", "scalar", "binary")
        ),
    ],
)
def test_what_the_server_indexes_is_allowed(dtype, similarity, quantization):
    check_dtype(dtype, similarity, quantization)
    check_dimensions(1024, dtype, quantization)
