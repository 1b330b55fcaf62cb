"""Widths and formats that a candidate's vectors are measured in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.work.evaluating.variants import (
    FORMATS,
    Variant,
    check_formats,
    compared_by,
    parse_format,
    short,
)
from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import VectorFormat, stored_bytes
from resources.models.cutting import cut, why_not

SPACE = EmbeddingSpace("openai", "text-embedding-3-small", "", 1536, "", normalized=True)


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_called_as_it_is_asked_for(name: str):
    found = parse_format(SPACE, name)
    assert found is not None
    assert short(found) == name
    check_formats([name])


def test_nothing_is_finer_than_the_model_returns_it():
    bits = EmbeddingSpace(
        "voyage", "m", "", 256, "", normalized=True, options=(("element", "packed_bit"),)
    )
    kept = [name for name in FORMATS if parse_format(bits, name) is not None]
    assert kept == ["packed_bit"]
    assert "cannot be cut" in why_not(bits, "m", 128)


def test_a_format_that_there_is_not():
    with pytest.raises(ConfigurationError, match="no format 'int4'"):
        check_formats(["int4"])


def test_bits_are_compared_by_the_bits_that_differ():
    assert compared_by(VectorFormat("float32", "packed_bit"), "dotProduct") == "euclidean"
    assert compared_by(VectorFormat("float32", "int8"), "cosine") == "cosine"


@given(st.integers(1, 64), st.integers(0, 2**32 - 1), st.booleans())
def test_cut_vectors_are_of_unit_length_again_where_the_space_promises_it(
    dimensions: int, seed: int, normalized: bool
):
    space = EmbeddingSpace("p", "m", "", 64, "", normalized=normalized)
    vectors = np.random.default_rng(seed).standard_normal((5, 64)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = cut(vectors, space, dimensions)
    assert found.shape == (5, dimensions)
    assert found.dtype == np.float32
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if normalized:
        np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    np.testing.assert_allclose(
        found / lengths * np.linalg.norm(vectors[:, :dimensions], axis=1, keepdims=True),
        vectors[:, :dimensions], rtol=1e-4, atol=1e-6,
    )  # fmt: skip
    # Of one vector likewise, as of a query.
    np.testing.assert_array_equal(cut(vectors[2], space, dimensions), found[2])


def test_only_what_the_catalogue_says_is_cut():
    assert why_not(SPACE, "text-embedding-3-small", 256) == ""
    assert "1536 dimensions here" in why_not(SPACE, "text-embedding-3-small", 2000)
    unknown = EmbeddingSpace("sentence_transformers", "mine", "r", 64, "", normalized=True)
    assert "the catalogue does not say" in why_not(unknown, "mine", 32)


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_are_those_of_the_stored_values(name: str):
    space = EmbeddingSpace("p", "m", "", 64, "", normalized=True)
    stored = parse_format(space, name)
    assert stored is not None
    main = {"float32": np.zeros(64, np.float32), "array": np.zeros(64, np.float32),
            "int8": np.zeros(64, np.int8), "packed_bit": np.zeros(8, np.uint8)}  # fmt: skip
    wanted = stored_bytes(main[stored.dtype], stored.dtype)
    if stored.rescore:
        wanted += stored_bytes(main[stored.rescore], stored.rescore)
    assert Variant(64, stored, "dotProduct", "vector").bytes_per_vector == wanted
