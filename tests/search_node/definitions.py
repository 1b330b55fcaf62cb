"""What a `vectorSearch` index definition may say, and how its refusals read."""

from collections.abc import Mapping
from typing import Any

SIMILARITIES = ("euclidean", "cosine", "dotProduct")
VECTOR_KEYS = {
    "type", "path", "numDimensions", "similarity", "quantization", "indexingMethod", "hnswOptions"
}  # fmt: skip


class Refused(Exception):
    """A command that the server answers with an error."""

    def __init__(self, code: int, name: str, message: str) -> None:
        super().__init__(message)
        self.code, self.name = code, name


def invalid(message: str) -> Refused:
    return Refused(8, "UnknownError", message)


def validate(definition: Mapping[str, Any]) -> None:
    """Raises Refused as the server would."""
    known("definition", definition, {"fields", "storedSource", "nestedRoot", "numPartitions"})
    fields = definition.get("fields")
    if not isinstance(fields, list) or not fields:
        raise invalid('"fields" cannot be empty')
    paths = [field.get("path") for field in fields]
    if len(set(paths)) < len(paths):
        raise invalid(f'"fields" contains the same path twice: {paths}')
    for field in fields:
        if not field.get("path"):
            raise invalid('"fields.path" is required')
        match field.get("type"):
            case "vector":
                _vector(field)
            case "filter":
                known("fields", field, {"type", "path"})
            case other:
                raise invalid(f'"fields.type" must be vector or filter, not {other!r}')
    if not any(field["type"] == "vector" for field in fields):
        raise invalid("at least one field of type vector is required")
    source = definition.get("storedSource", False)
    if source is not False and (
        not isinstance(source, Mapping) or len(source) != 1 or set(source) - {"include", "exclude"}
    ):
        raise invalid('"storedSource" must be false, or an object with include or exclude')
    if source:
        vectors = {field["path"] for field in fields if field["type"] == "vector"}
        if vectors & set(source.get("include", [])) or (
            "exclude" in source and not vectors <= set(source["exclude"])
        ):
            raise invalid('"storedSource" must not hold fields of type vector')


def _vector(field: Mapping[str, Any]) -> None:
    known("fields", field, VECTOR_KEYS)
    width = field.get("numDimensions")
    if not isinstance(width, int) or not 1 <= width <= 8192:
        raise invalid('"fields.numDimensions" must be within bounds [1, 8192]')
    if field.get("similarity") not in SIMILARITIES:
        raise invalid(f'"fields.similarity" must be one of {list(SIMILARITIES)}')
    quantization = field.get("quantization", "none")
    if quantization not in ("none", "scalar", "binary"):
        raise invalid('"fields.quantization" must be one of [none, scalar, binary]')
    if quantization == "binary" and width % 8:
        raise invalid('"fields.numDimensions" must be a multiple of 8 for binary quantization')
    method = field.get("indexingMethod", "hnsw")
    if method not in ("hnsw", "flat"):
        raise invalid('"fields.indexingMethod" must be one of [hnsw, flat]')
    options = field.get("hnswOptions")
    if options is not None:
        if method == "flat":
            raise invalid('"fields.hnswOptions" cannot be given with indexingMethod flat')
        known("hnswOptions", options, {"maxEdges", "numEdgeCandidates"})
        for name, low, high in (("maxEdges", 16, 64), ("numEdgeCandidates", 100, 3200)):
            if name in options and not low <= options[name] <= high:
                raise invalid(f'"hnswOptions.{name}" must be within bounds [{low}, {high}]')


def known(where: str, value: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = sorted(set(value) - allowed)
    if unknown:
        raise invalid(f'"{where}" contains unrecognized field "{unknown[0]}"')


def vector_fields(definition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {field["path"]: field for field in definition["fields"] if field["type"] == "vector"}


def filter_paths(definition: Mapping[str, Any]) -> list[str]:
    return [field["path"] for field in definition["fields"] if field["type"] == "filter"]
