"""Which of the hits, and in what order: one chunk a document, unlike ones first."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from resources.core.keys import key
from resources.search_index.query import Hit


@dataclasses.dataclass(frozen=True)
class Best:
    """The best chunk of a source document.

    Attributes:
        others: How many other chunks of it were found.
    """

    hit: Hit
    others: int = 0


def grouped(hits: Sequence[Hit], sources: Mapping[str, str]) -> list[Best]:
    """The best hit of each source document, in their order.

    Args:
        hits: Best first.
        sources: The source document's key by the hit's.
    """
    best: dict[str, Best] = {}
    for hit in hits:
        source = sources[key(hit.id)]
        known = best.get(source)
        best[source] = dataclasses.replace(known, others=known.others + 1) if known else Best(hit)
    return list(best.values())


def diverse(
    found: Sequence[Best], vectors: Mapping[str, np.ndarray], diversity: float, limit: int
) -> list[Best]:
    """Maximal marginal relevance: one after another the hit that is best, less what it repeats.

    Source: Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking" (SIGIR 1998), with
    lambda = 1 - diversity. Scores of different modes are of different sizes, so they are spread
    over 0 to 1 first; likeness is the cosine, of bits the share that agree.

    Args:
        found: Best first.
        vectors: float32 vectors by the hit's key; a hit without one repeats nothing.
        diversity: 0 for the order as it is, 1 for unlikeness alone.
        limit: How many to choose.
    """
    if not found or not vectors:
        return list(found[:limit])
    scores = np.array([each.hit.score for each in found])
    spread = np.ptp(scores)
    relevance = (scores - scores.min()) / spread if spread else np.ones(len(found))
    empty = np.zeros_like(next(iter(vectors.values())))
    rows = np.stack([vectors.get(key(each.hit.id), empty) for each in found])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(lengths, lengths, 1)
    chosen: list[int] = []
    # With nothing chosen nothing is repeated: the best goes first.
    repeated = np.zeros(len(found))
    left = np.ones(len(found), bool)
    while len(chosen) < min(limit, len(found)):
        value = (1 - diversity) * relevance - diversity * repeated
        at = int(np.argmax(np.where(left, value, -np.inf))) if chosen else 0
        chosen.append(at)
        left[at] = False
        alike = rows @ rows[at]
        repeated = alike if len(chosen) == 1 else np.maximum(repeated, alike)
    return [found[at] for at in chosen]
