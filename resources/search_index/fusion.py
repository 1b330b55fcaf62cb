"""Reciprocal rank fusion: one list of several, by the places that a document has in each.

Source of the formula: Cormack, Clarke, Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and
individual Rank Learning Methods" (SIGIR 2009); MongoDB's `$rankFusion` has the same with k = 60.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from resources.core.keys import key
from resources.search_index.query import Hit, Query


def fused(
    lists: Mapping[str, Sequence[Hit]],
    weights: Mapping[str, float],
    *,
    rank_constant: int,
    limit: int,
) -> list[Hit]:
    """The best by the sum of weight / (rank_constant + rank); of equal ones the lower id.

    Args:
        lists: By name, each best first.
        weights: By the same names.
        rank_constant: The larger, the less the first places count.
        limit: How many to keep.

    Returns:
        Hits with that sum as their score, and their place in each list that has them.
    """
    found: dict[str, Hit] = {}
    for name, hits in lists.items():
        for rank, hit in enumerate(hits, 1):
            known = found.get(key(hit.id)) or dataclasses.replace(hit, score=0.0, ranks={})
            found[key(hit.id)] = dataclasses.replace(
                known,
                score=known.score + weights[name] / (rank_constant + rank),
                ranks={**known.ranks, name: rank},
            )
    order = sorted(found.items(), key=lambda item: (-item[1].score, item[0]))
    return [hit for _, hit in order[:limit]]


def meaning(query: Query) -> str:
    """What a hit's score stands for after `by_rank`."""
    return f"sum of weight / ({query.rank_constant} + rank), of both lists"


def by_rank(lists: Mapping[str, Sequence[Hit]], query: Query) -> list[Hit]:
    """As `fused`, with the query's weights, in the order of the lists, its constant and limit."""
    weights = dict(zip(lists, query.weights, strict=True))
    return fused(lists, weights, rank_constant=query.rank_constant, limit=query.limit)
