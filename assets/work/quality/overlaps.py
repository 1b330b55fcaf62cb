"""What approximation, storage formats and fewer dimensions lose, and what each takes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from assets.work.opened import Opened
from assets.work.searching import Question, Searcher
from resources.core.keys import key
from resources.core.vectors import Similarity, int8_scale
from resources.models import cutting
from resources.vector_store.format_quality import of_queries, of_widths

OVERLAP = 10
QUERIES = 100
"""So many are asked twice; MongoDB's advice for measuring the accuracy of an index."""
SAMPLE = 4_000
"""Vectors of batches that formats and dimensions are compared on, at most."""
SAMPLE_BYTES = 64 * 1024**2


@dataclass(frozen=True)
class Overlaps:
    """Shares of the ten nearest that are found all the same.

    Attributes:
        exact: By the index, of what comparing with every vector finds; None where it has no
            vectors to compare, as in a search by words.
        formats: `{format, bytes, indexed_bytes, recall}` of each way of storing.
        dimensions: `{dimensions, bytes, recall}` of each width that the model can be cut to.
        sampled: Vectors that the latter two were compared on.
    """

    exact: float | None = None
    formats: Sequence[dict[str, Any]] = ()
    dimensions: Sequence[dict[str, Any]] = ()
    sampled: int = 0
    bytes: dict[str, int] = field(default_factory=dict)


def overlaps(o: Opened, searcher: Searcher, questions: Sequence[Question]) -> Overlaps:
    """Measure them on some questions, with their vectors."""
    asked = [each for each in questions if each.vector is not None][:QUERIES]
    exact = _exact(searcher, asked, o.evaluation.mode) if asked else None
    formats, dimensions, sampled = _sampled(o, asked)
    return Overlaps(exact, formats, dimensions, sampled, _bytes(o, searcher, formats))


def _exact(searcher: Searcher, asked: Sequence[Question], mode: Any) -> float | None:
    near, true = (
        searcher.rankings(asked, depth=OVERLAP, mode=mode, rerank=False, exact=exact)
        for exact in (False, True)
    )
    shares = []
    for found, right in zip(near, true, strict=True):
        wanted = {key(source) for source, _ in right.hits}
        if wanted:
            shares.append(len(wanted & {key(source) for source, _ in found.hits}) / len(wanted))
    return float(np.mean(shares)) if shares else None


def _sampled(
    o: Opened, asked: Sequence[Question]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    space = o.space
    if space.element != "float32" or not asked:
        return [], [], 0
    most = min(SAMPLE, SAMPLE_BYTES // (4 * space.dimensions))
    sample = o.batches.sample(space, most)
    if len(sample) <= OVERLAP:
        return [], [], 0
    queries = np.stack([each.vector for each in asked if each.vector is not None])
    queries = queries.astype(np.float32)
    by: Similarity = o.search_index.similarity
    if by == "euclidean" and space.normalized:
        by = "dotProduct"  # the same order, also for formats that euclidean would not be used with
    scale = o.store.format.scale or int8_scale(sample)
    formats = [asdict(row) for row in of_queries(sample, queries, by, scale)]
    widths = cutting.widths(space, o.embedder.facts().model)
    dimensions = [asdict(row) for row in of_widths(sample, queries, by, widths)] if widths else []
    return formats, dimensions, len(sample)


def _bytes(o: Opened, searcher: Searcher, formats: Sequence[dict[str, Any]]) -> dict[str, int]:
    store, index = o.store, searcher.serving().index
    vectors = index.entry.indexed
    mine = {row["format"]: row for row in formats}.get(store.format.values)
    each = mine["bytes"] if mine else store.format.bytes_each(o.space.dimensions)
    indexed = mine["indexed_bytes"] if mine else each
    whole = index.bytes
    return {
        "per_vector": each,
        "vectors": vectors,
        "stored": each * vectors,
        "index": whole if whole is not None else indexed * vectors,
    }
