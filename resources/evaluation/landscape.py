"""Where the vectors of a sample lie: their map, their groups, and what is alike or far from all.

Similarity is the cosine of two vectors here, whatever the index compares by; of packed bits, that
of their signs. The same vectors give the same numbers every time.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.core.keys import key

SAMPLE = 2_000
"""Vectors that are looked at, at most."""

ALIKE = 0.95
"""Two documents of so much similarity say nearly the same, to the model."""

NEIGHBOURS = 10
SHOWN = 20
"""Pairs and outliers that are told, of however many."""

_FEWEST = 20
"""Of fewer documents nothing is said about what is usual among them."""

_AT_ONCE = 8 << 20
"""Bytes of similarities that are in hand at a time."""

_SEED, _GROUPS, _PER_GROUP = 20_261_126, 10, 10
_SUBSPACE, _ITERATIONS = 16, 20
_WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class Sample:
    """Some of what is stored, row by row.

    Attributes:
        vectors: float32, shape (n, columns).
        ids: Of the documents (of chunks, where the source's are cut).
        sources: Of the source documents.
        texts: Their beginnings.
        field: Name of a field that is carried along; empty where none was asked for.
        values: Of that field, as text; as many, or none.
    """

    vectors: np.ndarray
    ids: Sequence[Any]
    sources: Sequence[Any]
    texts: Sequence[str]
    field: str = ""
    values: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Pair:
    """Rows of two different source documents, and how alike they are."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class Outlier:
    """A row that is far from all others.

    Attributes:
        similarity: Its mean to the ten nearest of other source documents.
        nearest: Row of the nearest.
    """

    row: int
    similarity: float
    nearest: int


@dataclass(frozen=True)
class Surroundings:
    """What lies around each document of a sample.

    Attributes:
        pairs: Of at least the similarity asked for, the most alike first; twenty at most.
        alike: How many such pairs there are.
        outliers: The loneliest first; twenty at most.
        usual: Median of the mean similarity to the ten nearest.
        level: Where one document in twenty has its nearest: below it, nothing lies near. None
            where the documents are too few to say.
    """

    pairs: Sequence[Pair]
    alike: int
    outliers: Sequence[Outlier]
    usual: float
    level: float | None


def unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1 each, float32; zero, and what is not finite, stays at zero."""
    wide = np.nan_to_num(np.asarray(vectors, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)


def project(vectors: np.ndarray, also: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Onto the two directions in which the vectors differ most (PCA), each turned the same way.

    Args:
        vectors: Shape (n, columns).
        also: Others to be put on the same map, shape (m, columns).

    Returns:
        Places of shape (n, 2) and (m, 2); the vectors' lie between -1 and 1.
    """
    rows = unit(vectors).astype(np.float64)
    others = np.zeros((0, rows.shape[1])) if also is None else unit(also).astype(np.float64)
    if len(rows) < 2:
        return np.zeros((len(rows), 2)), np.zeros((len(others), 2))
    middle = rows.mean(axis=0)
    rows, others = rows - middle, others - middle
    directions = _directions(rows)
    places, extra = rows @ directions, others @ directions
    scale = np.abs(places).max() or 1.0
    return np.round(places / scale, 6), np.round(extra / scale, 6)


def _directions(rows: np.ndarray) -> np.ndarray:
    """(columns, 2): by subspace iteration, which takes a hundredth of a full decomposition."""
    found = np.random.default_rng(_SEED).standard_normal((rows.shape[1], _SUBSPACE))
    for _ in range(_ITERATIONS):
        found, _ = np.linalg.qr(rows.T @ (rows @ found))
    _, turned = np.linalg.eigh((rows @ found).T @ (rows @ found))
    found = found @ turned[:, ::-1][:, :2]
    if found.shape[1] < 2:
        found = np.pad(found, ((0, 0), (0, 2 - found.shape[1])))
    # An eigenvector may as well point the other way: the largest part is made positive.
    signs = np.sign(found[np.abs(found).argmax(axis=0), np.arange(2)])
    return found * np.where(signs == 0, 1.0, signs)


def mapped(
    vectors: np.ndarray, also: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Places as of `project`, and by what: UMAP where `umap-learn` is installed, else PCA."""
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports]
    except ImportError:
        return *project(vectors, also), "PCA"
    rows = unit(vectors if also is None else np.concatenate([vectors, also]))
    if len(vectors) < _FEWEST:  # it needs neighbours
        return *project(vectors, also), "PCA"
    made = UMAP(n_neighbors=15, metric="cosine", random_state=_SEED).fit_transform(rows)
    places = np.asarray(made, np.float64)
    places = places - places.mean(axis=0)
    places = np.round(places / (np.abs(places[: len(vectors)]).max() or 1.0), 6)
    return places[: len(vectors)], places[len(vectors) :], "UMAP"


def clusters(sample: Sample) -> list[str]:
    """A name for each row: the words that tell its cluster from the others.

    The clusters are those of k-means on the sphere: as many as the root of a tenth of the
    documents, ten at most.
    """
    import faiss

    count = min(_GROUPS, math.isqrt(len(sample) // _PER_GROUP))
    if count < 2:
        return ["all"] * len(sample)
    vectors = np.ascontiguousarray(unit(sample.vectors))
    means = faiss.Kmeans(
        vectors.shape[1], count, niter=25, nredo=3, seed=_SEED % (1 << 31), spherical=True,
        min_points_per_centroid=1, max_points_per_centroid=len(vectors),
    )  # fmt: skip
    means.train(vectors)
    of = (vectors @ np.asarray(means.centroids).T).argmax(axis=1)
    return _named(of, sample.texts, count)


def _named(of: np.ndarray, texts: Sequence[str], count: int) -> list[str]:
    words = [frozenset(_WORD.findall(text.casefold())) for text in texts]
    everywhere = Counter(word for each in words for word in each)
    names: list[str] = []
    for cluster in range(count):
        rows = np.flatnonzero(of == cluster)
        here = Counter(word for row in rows for word in words[row])
        # Many documents here have it, and few elsewhere.
        worth = {
            word: found * math.log(found / len(rows) * len(words) / everywhere[word]) ** 3
            for word, found in here.items()
        }
        best = sorted(worth, key=lambda word: (-worth[word], word))[:3]
        name = ", ".join(word[:20] for word in best) or "without words"
        names.append(name if name not in names else f"{name} ({cluster + 1})")
    return [names[cluster] for cluster in of]


def surroundings(sample: Sample, alike: float = ALIKE, shown: int = SHOWN) -> Surroundings:
    """Near-duplicates, outliers, and how near documents usually have others.

    Args:
        sample: At most a few thousand rows; memory is bounded, the time grows with their square.
        alike: Least similarity of a pair.
        shown: At most so many pairs and outliers.
    """
    vectors = unit(sample.vectors)
    numbers: dict[str, int] = {}
    of = np.array([numbers.setdefault(key(each), len(numbers)) for each in sample.sources])
    pairs: list[Pair] = []
    count, means, firsts, nearest = 0, [], [], []
    for start, near in _blocks(vectors):
        rows = np.arange(start, start + len(near))
        near[of[rows][:, None] == of[None, :]] = -np.inf
        later = np.arange(len(vectors))[None, :] > rows[:, None]
        at, other = np.nonzero((near >= alike) & later)
        count += len(at)
        pairs += [
            Pair(start + int(a), int(b), float(near[a, b]))
            for a, b in _most(near, at, other, shown)
        ]
        pairs = sorted(pairs, key=lambda each: (-each.similarity, each.first, each.second))[:shown]
        best = -np.sort(-near, axis=1)[:, :NEIGHBOURS]
        there = np.isfinite(best)
        means += (np.where(there, best, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)).tolist()
        firsts += best[:, 0].tolist() if best.shape[1] else []
        nearest += near.argmax(axis=1).tolist()
    if len(numbers) < 2:
        return Surroundings([], 0, [], 0.0, None)
    order = sorted(range(len(means)), key=lambda row: (means[row], row))[:shown]
    return Surroundings(
        pairs,
        count,
        [Outlier(row, means[row], nearest[row]) for row in order],
        float(np.median(means)),
        float(np.quantile(firsts, 0.05)) if len(numbers) >= _FEWEST else None,
    )


def _most(near: np.ndarray, at: np.ndarray, other: np.ndarray, shown: int) -> list[tuple[int, int]]:
    """Of the places found, those of the largest values: where all are alike there are millions."""
    order = np.argsort(-near[at, other], kind="stable")[:shown]
    return list(zip(at[order].tolist(), other[order].tolist(), strict=True))


def _blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Similarities of some rows to all, with the number of the first row."""
    at_once = max(1, _AT_ONCE // max(1, 4 * len(vectors)))
    for start in range(0, len(vectors), at_once):
        yield start, np.clip(vectors[start : start + at_once] @ vectors.T, -1.0, 1.0)
