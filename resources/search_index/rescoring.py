"""Rank candidates anew by a finer field: what coarse vectors lose in quality, this brings back."""

from collections.abc import Mapping, Sequence

import numpy as np

from resources.core.keys import key
from resources.core.vectors import Element
from resources.search_index.query import Hit
from resources.search_index.scores import score


def rescored(
    candidates: Sequence[Hit],
    query: np.ndarray,
    fine: Mapping[str, np.ndarray],
    element: Element,
    limit: int,
) -> list[Hit]:
    """The best of the candidates by cosine, which knows no scale: (1 + cosine) / 2.

    Args:
        candidates: From the coarse index, best first.
        query: In the finer element type.
        fine: The candidates' finer vectors by encoded id; one that has none is left out.
        element: Of the finer vectors: int8 or float32.
        limit: How many to keep.
    """
    known = [hit for hit in candidates if key(hit.id) in fine]
    if not known:
        return []
    rows = np.stack([fine[key(hit.id)] for hit in known])
    scores = score(element, "cosine", rows, query)
    # Of equal ones, the order of the coarse index stays.
    order = np.argsort(-scores, kind="stable")[:limit]
    return [Hit(known[row].id, float(scores[row])) for row in order]
