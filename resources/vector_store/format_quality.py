"""What each way of storing vectors takes and keeps, measured on the corpus's own vectors."""

from collections.abc import Sequence
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
    return _compared(vectors, vectors[own], own, similarity, scale)


def of_queries(
    vectors: np.ndarray, asked: np.ndarray, similarity: Similarity, scale: float
) -> list[FormatQuality]:
    """As `measure`, of what queries find.

    Args:
        vectors: float32, shape (n, dimensions), n above ten.
        asked: Of the queries, float32 of shape (queries, dimensions).
        similarity: As `measure`.
        scale: As `measure`.
    """
    return _compared(vectors, asked, None, similarity, scale)


@dataclass(frozen=True)
class WidthQuality:
    """Vectors cut to their leading dimensions, and of unit length again.

    Attributes:
        dimensions: That are left.
        bytes: Per vector of float32 in the document.
        recall: Share of the ten nearest by all dimensions that it finds.
    """

    dimensions: int
    bytes: int
    recall: float


def of_widths(
    vectors: np.ndarray, asked: np.ndarray, similarity: Similarity, widths: Sequence[int]
) -> list[WidthQuality]:
    """What is found by some of the dimensions alone; arguments as `of_queries`."""
    truth = _ranked(_nearness(vectors, asked, "float32", similarity), None, NEIGHBOURS)
    found = []
    for width in widths:
        cut, mine = _unit(vectors[:, :width]), _unit(asked[:, :width])
        near = _ranked(_nearness(cut, mine, "float32", similarity), None, NEIGHBOURS)
        size = stored_bytes(cut[0], "float32")
        found.append(WidthQuality(width, size, _kept(truth, near)))
    return found


def _compared(
    vectors: np.ndarray,
    asked: np.ndarray,
    own: np.ndarray | None,
    similarity: Similarity,
    scale: float,
) -> list[FormatQuality]:
    truth = _ranked(_nearness(vectors, asked, "float32", similarity), own, NEIGHBOURS)
    found = []
    for dtype, rescore in _CHOICES:
        if dtype == "packed_bit" and vectors.shape[1] % 8:
            continue
        stored = VectorFormat("float32", dtype, rescore, scale)
        main, fine, _ = stored.fields(vectors)
        main_asked, fine_asked, _ = stored.fields(asked)
        nearness = _nearness(main, main_asked, element_of(dtype), similarity)
        near = _ranked(nearness, own, CANDIDATES if rescore else NEIGHBOURS)
        size = indexed = stored_bytes(main[0], dtype)
        if fine is not None and fine_asked is not None and rescore:
            finer = np.take_along_axis(_nearness(fine, fine_asked, rescore, "cosine"), near, axis=1)
            order = np.argsort(-finer, axis=1, kind="stable")[:, :NEIGHBOURS]
            near = np.take_along_axis(near, order, axis=1)
            size += stored_bytes(fine[0], rescore)
        found.append(FormatQuality(str(stored), size, indexed, _kept(truth, near)))
    return found


def _kept(truth: np.ndarray, near: np.ndarray) -> float:
    return float(np.mean([np.isin(*rows).mean() for rows in zip(truth, near, strict=True)]))


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths, lengths, 1)


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


def _ranked(nearness: np.ndarray, own: np.ndarray | None, count: int) -> np.ndarray:
    """(queries, count): rows, the nearest first; without the query itself where it is one."""
    there = nearness.shape[1]
    if own is not None:
        nearness[np.arange(len(own)), own] = -np.inf
        there -= 1
    return np.argsort(-nearness, axis=1, kind="stable")[:, : min(count, there)]
