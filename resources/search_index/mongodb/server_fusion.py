"""The stages `$rankFusion` and `$scoreFusion`: both searches and their fusion in one trip.

Source: the two pages of MongoDB's aggregation reference. An input pipeline takes only stages that
find, order or cut off documents; what a hit carries is projected after the fusion. Documents of
one score have one rank there, as `$rank` counts, and an equal sum is ordered by `_id`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import OperationFailure

from resources.mongodb.deployment import server_message
from resources.search_index.query import RANK_CONSTANT, Hit, Query

RANK_FUSION, SCORE_FUSION = (8, 0), (8, 3)
"""The versions of MongoDB that have them."""
SCORE_MEANING = "mean of weight x score, of both lists, each brought to 0..1 by its best and worst"
_UNKNOWN_STAGE, _NOT_ALLOWED = 40324, 224
_DETAILS, _RAW, _RANKS = "__details", "__raw", "__ranks"
_NAMES = ("vector", "text")

Stages = list[dict[str, Any]]


def ranks_alike(query: Query) -> bool:
    """Whether the server, whose constant is fixed, sums up as the query asks."""
    return query.rank_constant == RANK_CONSTANT


def not_there(error: OperationFailure) -> bool:
    """Whether the server does not know the stage, or has it switched off."""
    text = server_message(error).lower()
    named = "rankfusion" in text or "scorefusion" in text
    return error.code in (_UNKNOWN_STAGE, _NOT_ALLOWED) or (named and "not allowed" in text)


def too_old(version: tuple[int, int]) -> str:
    return (
        "search_index has `text: {fusion: score}`, which needs MongoDB 8.3 or later, and this is "
        f"{version[0]}.{version[1]}: remove it, and places are added up instead"
    )


def rank_stage(vector: Stages, text: Stages, query: Query) -> dict[str, Any]:
    """Reciprocal rank fusion.

    Args:
        vector: The stages of the search by vector.
        text: Those of the search by words.
        query: Its weights.
    """
    return {
        "$rankFusion": {
            "input": {"pipelines": dict(zip(_NAMES, (vector, text), strict=True))},
            "combination": {"weights": _weights(query)},
            "scoreDetails": True,
        }
    }


def score_stage(vector: Stages, text: Stages, query: Query) -> dict[str, Any]:
    """The mean of both scores, each brought to 0..1 by its best and its worst, times its weight."""
    return {
        "$scoreFusion": {
            "input": {
                "pipelines": dict(zip(_NAMES, (vector, text), strict=True)),
                # A vector's score ends at 1, that of words does not.
                "normalization": "minMaxScaler",
            },
            "combination": {"weights": _weights(query), "method": "avg"},
            "scoreDetails": True,
        }
    }


def _weights(query: Query) -> dict[str, float]:
    return dict(zip(_NAMES, query.weights, strict=True))


def after(stage: Mapping[str, Any], wanted: Mapping[str, int], limit: int) -> Stages:
    """What follows the fusion: the fields, the details, the best.

    Args:
        stage: The fusion.
        wanted: A projection.
        limit: At most this many hits.
    """
    project = {"$project": {**wanted, _DETAILS: {"$meta": "scoreDetails"}}}
    if "$rankFusion" in stage:
        return [{"$limit": limit}, project]
    # The details tell scores; places are counted over all that was found.
    score = "$$one.inputPipelineRawScore"
    each = {
        "k": "$$one.inputPipelineName",
        "v": {"$cond": [{"$isNumber": score}, score, 0]},
    }
    raw = {"$map": {"input": f"${_DETAILS}.details", "as": "one", "in": each}}
    counted = [
        {
            "$setWindowFields": {
                "sortBy": {f"{_RAW}.{name}": -1},
                "output": {f"{_RANKS}.{name}": {"$rank": {}}},
            }
        }
        for name in _NAMES
    ]
    return [
        project,
        {"$set": {_RAW: {"$arrayToObject": raw}}},
        *counted,
        {"$sort": {f"{_DETAILS}.value": -1, "_id": 1}},
        {"$limit": limit},
    ]


def hits(rows: Sequence[dict[str, Any]], *, documents: bool) -> list[Hit]:
    """The hits of what `after` lets through, in its order.

    Args:
        rows: Changed: what is not of the document is taken out.
        documents: Whether the hits carry their fields.
    """
    found = []
    for row in rows:
        details = row.pop(_DETAILS)
        raw, places = row.pop(_RAW, None), row.pop(_RANKS, {})
        if raw is None:
            ranks = {one["inputPipelineName"]: one.get("rank") for one in details["details"]}
        else:
            ranks = {name: places[name] for name in _NAMES if raw.get(name, 0) > 0}
        found.append(
            Hit(
                row["_id"],
                float(details["value"]),
                document=row if documents else None,
                # Where a list does not have the document, the server says "NA".
                ranks={
                    name: int(rank)
                    for name, rank in ranks.items()
                    if isinstance(rank, (int, float)) and rank > 0
                },
            )
        )
    return found
