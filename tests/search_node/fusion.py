"""The stages `$rankFusion` and `$scoreFusion`: what they refuse, and how they sum up.

Source: their pages in MongoDB's aggregation reference, and for what a missing document shows
("NA") and for ties, which share a rank, the server's published tests.
"""

import math
from collections.abc import Mapping
from typing import Any

from tests.search_node.definitions import Refused, invalid, known

STAGES = {"$rankFusion": (8, 0), "$scoreFusion": (8, 3)}
ALLOWED = {
    "$match", "$search", "$vectorSearch", "$sample", "$geoNear", "$sort", "$skip", "$limit"
}  # fmt: skip
RANKED = {"$search", "$vectorSearch", "$geoNear"}
Lists = Mapping[str, list[tuple[dict[str, Any], float]]]


def check(stage: str, body: Mapping[str, Any], version: str) -> None:
    """Raises Refused as the server of that version would."""
    if tuple(int(part) for part in version.split(".")[:2]) < STAGES[stage]:
        raise Refused(40324, "Location40324", f"Unrecognized pipeline stage name: '{stage}'")
    known(stage, body, {"input", "combination", "scoreDetails"})
    scored = stage == "$scoreFusion"
    known("input", body["input"], {"pipelines", "normalization"} if scored else {"pipelines"})
    pipelines = body["input"].get("pipelines")
    if not pipelines:
        raise invalid(f"{stage} must have at least one input pipeline")
    for name, stages in pipelines.items():
        if not name or name.startswith("$") or "." in name or "\0" in name:
            raise invalid(f"{stage} pipeline names must not be empty, begin with $ or hold a dot")
        _check_pipeline(stage, stages)
    combination = body.get("combination", {})
    known("combination", combination, {"weights", "method"} if scored else {"weights"})
    for name, weight in combination.get("weights", {}).items():
        if name not in pipelines:
            raise invalid(f"{stage} has a weight for the pipeline {name}, which does not exist")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or weight < 0:
            raise invalid(f"{stage} pipeline weights must be non-negative numbers")
    if scored and body["input"].get("normalization") not in ("none", "sigmoid", "minMaxScaler"):
        raise invalid('"normalization" must be none, sigmoid or minMaxScaler')
    if combination.get("method", "avg") != "avg":
        raise invalid("the stand-in knows no other method than avg")


def _check_pipeline(stage: str, stages: Any) -> None:
    if not isinstance(stages, list) or not stages:
        raise invalid(f"{stage} input pipelines must not be empty")
    names = [next(iter(each)) for each in stages]
    for name in names:
        if name not in ALLOWED:
            raise Refused(
                9191103,
                "Location9191103",
                f"{name} is not allowed in a {stage} input pipeline. Only stages that retrieve, "
                "limit, or order documents are allowed.",
            )
    if names[0] not in RANKED and "$sort" not in names:
        raise invalid(f"{stage} input pipelines must be ranked")
    for name, each in zip(names, stages, strict=True):
        if name in RANKED and each[name].get("returnStoredSource"):
            raise invalid(f"returnStoredSource is not allowed in a {stage} input pipeline")


def fused(stage: str, body: Mapping[str, Any], lists: Lists, details: str) -> list[dict[str, Any]]:
    """Each document once, with the details of its score in the field named."""
    weights = body.get("combination", {}).get("weights", {})
    documents = {repr(row["_id"]): row for rows in lists.values() for row, _ in rows}
    shown: dict[str, list[dict[str, Any]]] = {key: [] for key in documents}
    totals = dict.fromkeys(documents, 0.0)
    for name, rows in lists.items():
        weight = weights.get(name, 1)
        scores = [score for _, score in rows]
        found = {
            repr(row["_id"]): (1 + sum(other > score for other in scores), score)
            for row, score in rows
        }
        for key in documents:
            if stage == "$rankFusion":
                rank, score = found.get(key, ("NA", None))
                entry = {"inputPipelineName": name, "rank": rank, "weight": weight}
                if isinstance(rank, int):
                    totals[key] += weight / (60 + rank)
                    entry["value"] = score
            else:
                _, score = found.get(key, (None, None))
                value = 0.0 if score is None else _normal(score, scores, body) * weight
                totals[key] += value / len(lists)
                entry = {
                    "inputPipelineName": name,
                    "inputPipelineRawScore": "NA" if score is None else score,
                    "weight": weight,
                    "value": value,
                }
            shown[key].append({**entry, "details": []})
    if not body.get("scoreDetails"):
        return [{**row, details: {"value": totals[key]}} for key, row in documents.items()]
    return [
        {**row, details: {"value": totals[key], "details": shown[key]}}
        for key, row in documents.items()
    ]


def _normal(score: float, scores: list[float], body: Mapping[str, Any]) -> float:
    match body["input"].get("normalization"):
        case "sigmoid":
            return 1 / (1 + math.exp(-score))
        case "minMaxScaler":
            low, high = min(scores), max(scores)
            return (score - low) / (high - low) if high > low else 0.0
    return score
