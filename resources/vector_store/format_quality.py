"""What each way of storing vectors takes and keeps, measured on the corpus's own vectors."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from resources.core.vectors import (
    Dtype,
    Element,
    Similarity,
    VectorFormat,
    element_of,
    stored_bytes,
)

NEIGHBOURS = 10
CANDIDATES = 200
"""Ranked anew by a finer field: what a search for ten results considers by default."""

_CHOICES: list[tuple[Dtype, Literal["int8", "float32"] | None]] = [
    ("array", None),
    ("float32", None),
    ("int8", None),
    ("packed_bit", None),
    ("packed_bit", "int8"),
    ("packed_bit", "float32"),
]


@dataclass(frozen=True)
class FormatQuality:
    """One way of storing.

    Attributes:
        format: Name, as the lineage has it.
        bytes: Per vector in the document, a finer field included.
        indexed_bytes: Per vector, of the indexed field alone.
        recall: Share of the ten nearest by exact float32 comparison that it finds.
    """

    format: str
    bytes: int
    indexed_bytes: int
    recall: float


def measure(
    vectors: np.ndarray, queries: int, similarity: Similarity, scale: float
) -> list[FormatQuality]:
    """Compare the formats that these vectors can be stored in.

    Args:
        vectors: float32, shape (n, dimensions), n above ten.
        queries: So many rows, evenly spread, are searched for among all others.
        similarity: Of the index; bits are compared by the bits that differ.
        scale: Brings float32 to int8.
    """
    own = np.unique(np.linspace(0, len(vectors) - 1, queries).astype(int))
    truth = _ranked(_nearness(vectors, vectors[own], "float32", similarity), own, NEIGHBOURS)
    found = []
    for dtype, rescore in _CHOICES:
        if dtype == "packed_bit" and vectors.shape[1] % 8:
            continue
        stored = VectorFormat("float32", dtype, rescore, scale)
        main, fine, _ = stored.fields(vectors)
        nearness = _nearness(main, main[own], element_of(dtype), similarity)
        near = _ranked(nearness, own, CANDIDATES if rescore else NEIGHBOURS)
        size = indexed = stored_bytes(main[0], dtype)
        if fine is not None and rescore:
            finer = np.take_along_axis(_nearness(fine, fine[own], rescore, "cosine"), near, axis=1)
            order = np.argsort(-finer, axis=1, kind="stable")[:, :NEIGHBOURS]
            near = np.take_along_axis(near, order, axis=1)
            size += stored_bytes(fine[0], rescore)
        kept = [np.isin(right, rows).mean() for right, rows in zip(truth, near, strict=True)]
        found.append(FormatQuality(str(stored), size, indexed, float(np.mean(kept))))
    return found


def _nearness(
    stored: np.ndarray, asked: np.ndarray, element: Element, similarity: Similarity
) -> np.ndarray:
    """(queries, n): the higher, the nearer; in one product of matrices."""
    if element == "packed_bit":
        # Of signs as +1 and -1, the dot product counts the bits that agree.
        stored, asked = (np.unpackbits(rows, axis=1) * 2.0 - 1.0 for rows in (stored, asked))
        return asked @ stored.T
    stored, asked = stored.astype(np.float32), asked.astype(np.float32)
    dot = asked @ stored.T
    if similarity == "dotProduct":
        return dot
    squares = np.square(stored).sum(axis=1)
    if similarity == "cosine":
        return dot / np.sqrt(np.maximum(squares, 1e-30))
    return 2 * dot - squares


def _ranked(nearness: np.ndarray, own: np.ndarray, count: int) -> np.ndarray:
    """(queries, count): rows, the nearest first, without the query itself."""
    nearness[np.arange(len(own)), own] = -np.inf
    return np.argsort(-nearness, axis=1, kind="stable")[:, : min(count, nearness.shape[1] - 1)]
