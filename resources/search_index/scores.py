"""The scores of `$vectorSearch`, for every element type.

Source: MongoDB's "Vector Search Score" for the formulas of floats; mongot's source for those it
leaves out, and for the squared distance of euclidean.
"""

import numpy as np
from numpy.typing import NDArray

from resources.core.errors import SearchIndexError
from resources.core.vectors import Element, Similarity

_MEANINGS = {
    ("float32", "cosine"): "(1 + cosine) / 2",
    ("float32", "dotProduct"): "(1 + dot product) / 2, which of unit vectors is the cosine",
    ("float32", "euclidean"): "1 / (1 + squared distance)",
    ("int8", "cosine"): "(1 + cosine) / 2",
    ("int8", "dotProduct"): "0.5 + dot product of the integers / (dimensions x 32768)",
    ("int8", "euclidean"): "1 / (1 + squared distance of the integers)",
    ("packed_bit", "euclidean"): "share of the bits that agree",
}


def meaning(element: Element, similarity: Similarity) -> str:
    """What a score stands for.

    Raises:
        SearchIndexError: Such vectors cannot be compared so.
    """
    try:
        return _MEANINGS[element, similarity]
    except KeyError:
        raise SearchIndexError(
            f"vectors of {element} cannot be compared by {similarity}: packed bits are compared by "
            "euclidean only"
        ) from None


def score(
    element: Element, similarity: Similarity, rows: np.ndarray, query: np.ndarray
) -> NDArray[np.float64]:
    """Scores of stored vectors, 0 to 1, the higher the nearer.

    Args:
        element: Of rows and query.
        similarity: As in the definition of a MongoDB index.
        rows: Shape (n, columns); for cosine of any length but zero.
        query: Shape (columns,).

    Returns:
        (n,)

    Raises:
        SearchIndexError: Such vectors cannot be compared so.
    """
    meaning(element, similarity)
    if element == "packed_bit":
        bits = rows.shape[1] * 8
        return (bits - differing_bits(rows, query)) / bits
    wide, asked = rows.astype(np.float64), query.astype(np.float64)
    if similarity == "euclidean":
        return 1 / (1 + np.square(wide - asked).sum(axis=1))
    dot = (wide * asked).sum(axis=1)
    if similarity == "cosine":
        lengths = np.sqrt(np.square(wide).sum(axis=1)) * np.sqrt(np.square(asked).sum())
        return np.clip((1 + dot / lengths) / 2, 0.0, 1.0)
    if element == "int8":
        return 0.5 + dot / (rows.shape[1] * 2**15)
    return np.maximum((1 + dot) / 2, 0.0)


def differing_bits(rows: np.ndarray, query: np.ndarray) -> NDArray[np.int64]:
    """Hamming distances of packed bits: shape (n,)."""
    return np.bitwise_count(np.bitwise_xor(rows, query)).sum(axis=1, dtype=np.int64)
