"""Small local indexes to try things on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.saved_segment import save_segment
from resources.search_index.local.saved_version import open_version, save_version, segment_folder
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.version import Version

SIMILARITIES = ["cosine", "dotProduct", "euclidean"]


def clustered(count: int, dimensions: int, seed: int) -> np.ndarray:
    centres = np.random.default_rng(0).standard_normal((200, dimensions))
    random = np.random.default_rng(seed)
    found = centres[random.integers(0, 200, count)]
    found = found + 0.7 * random.standard_normal((count, dimensions))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def build(
    vectors: Any,
    *,
    ids: list | None = None,
    fields: list[Mapping[str, Any]] | None = None,
    paths: tuple[str, ...] = (),
    similarity: Any = "cosine",
    batch: int = 1000,
    **settings: Any,
) -> Version:
    vectors = np.asarray(vectors, np.float32)
    expected = settings.pop("expected", None) or 0
    shape = IndexShape(vectors.shape[1], similarity, paths, **settings)
    builder = SegmentBuilder(shape, expected=expected)
    ids = list(range(len(vectors))) if ids is None else ids
    fields = [{}] * len(ids) if fields is None else fields
    for start in range(0, len(ids), batch):
        part = slice(start, start + batch)
        builder.add(ids[part], vectors[part], fields[part])
    return version_of(shape, builder)


def version_of(shape: IndexShape, builder: SegmentBuilder) -> Version:
    return Version(shape, [builder.finish()])


def is_flat(index: Version) -> bool:
    return not index.segments[0].has_graph


def save(index: Version, folder: str) -> None:
    """As the only version, `v`, with a segment `s`."""
    (segment,) = index.segments
    save_segment(segment, index.shape, segment_folder(folder, "s"))
    save_version(folder, "v", index.shape, [("s", len(segment))], index.deleted)


def load(folder: str) -> Version:
    return open_version(folder, "v")


def scores(vectors: np.ndarray, query: np.ndarray, similarity: str) -> np.ndarray:
    """MongoDB's, in float64 from the formulas."""
    wide, asked = vectors.astype(np.float64), query.astype(np.float64)
    if similarity == "euclidean":
        return 1 / (1 + ((wide - asked) ** 2).sum(axis=1))
    dots = wide @ asked
    if similarity == "cosine":
        dots /= np.linalg.norm(wide, axis=1) * np.linalg.norm(asked)
    return np.maximum((1 + dots) / 2, 0)
