"""The definition of a `vectorSearch` index: made from the declaration, compared with the server's.

Source of names, values and defaults: "How to Index Fields for Vector Search" of the MongoDB
documentation. A definition is replaced whole, and a change rebuilds the index, so two that mean
the same must compare equal, however the server spells them out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from resources.search_index.declaration import IndexDeclaration, not_stored

TYPE = "vectorSearch"
_GRAPH = {"maxEdges": 16, "numEdgeCandidates": 100}
_VECTOR = {"quantization": "none", "indexingMethod": "hnsw"}


def build_definition(
    declared: IndexDeclaration, *, path: str, dimensions: int, space_path: str
) -> dict[str, Any]:
    """What `createSearchIndexes` and `updateSearchIndex` take; defaults are left out.

    Left out, because a server older than an option refuses the option's very name.

    Args:
        declared: As the resource `search_index` has it.
        path: Of the vector.
        dimensions: Of the space.
        space_path: Where a document names the space of its vector; every search filters by it.
    """
    vector: dict[str, Any] = {
        "type": "vector",
        "path": path,
        "numDimensions": dimensions,
        "similarity": declared.similarity,
    }
    if declared.quantization != "none":
        vector["quantization"] = declared.quantization
    if declared.indexing_method == "flat":
        vector["indexingMethod"] = "flat"
    graph = {"maxEdges": declared.max_edges, "numEdgeCandidates": declared.num_edge_candidates}
    if graph != _GRAPH:
        vector["hnswOptions"] = graph
    filters = dict.fromkeys([*declared.filter_fields, space_path])
    definition: dict[str, Any] = {
        "fields": [vector, *({"type": "filter", "path": name} for name in filters)]
    }
    source = declared.stored_source(path)
    if source:
        definition["storedSource"] = source
    return definition


def vector_field(definition: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """The vector field at a path with its defaults filled in; None where there is none."""
    for field in _fields(definition):
        if field.get("type") == "vector" and field.get("path") == path:
            return _vector(field)
    return None


def answers_alone(definition: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Whether the search nodes' own copy of the documents has all these fields."""
    source = definition.get("storedSource")
    return isinstance(source, Mapping) and not not_stored(source, fields)


def filter_paths(definition: Mapping[str, Any]) -> list[str]:
    return [field["path"] for field in _fields(definition) if field.get("type") == "filter"]


def differences(served: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """How a definition differs from the one wanted, for people; empty where they mean the same.

    Options unknown here, and `numPartitions`, are left out of the comparison: a server that fills
    in a default of its own would otherwise be told to rebuild the index in every run.
    """
    found = []
    mine, theirs = _meaning(wanted), _meaning(served)
    for name in sorted({*mine, *theirs}):
        if mine.get(name) != theirs.get(name):
            have, want = _shown(theirs.get(name)), _shown(mine.get(name))
            found.append(f"{name} is {have}, not {want}")
    return found


def _meaning(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A flat form in which equal definitions are equal: defaults filled in, order gone."""
    meaning: dict[str, Any] = {"filter fields": sorted(filter_paths(definition))}
    for field in _fields(definition):
        kind, path = field.get("type"), field.get("path")
        if kind == "vector":
            for option, value in _vector(field).items():
                if option not in ("type", "path"):
                    meaning[f"{path}.{option}"] = value
        elif kind != "filter":
            meaning[f"{path}.type"] = kind
    source = definition.get("storedSource")
    if isinstance(source, Mapping):
        # {include: []} keeps nothing either
        kept = {name: sorted(paths) for name, paths in source.items() if paths}
        meaning["storedSource"] = kept or None
    else:
        meaning["storedSource"] = source or None
    meaning["nestedRoot"] = definition.get("nestedRoot") or None
    return meaning


def _vector(field: Mapping[str, Any]) -> dict[str, Any]:
    """A vector field's known options with defaults; BSON may bring integers as doubles."""
    names = ("type", "path", "similarity", *_VECTOR)
    options = {name: field.get(name) or _VECTOR.get(name) for name in names}
    options["numDimensions"] = int(field.get("numDimensions") or 0)
    if options["indexingMethod"] == "hnsw":
        graph = field.get("hnswOptions") or {}
        options["hnswOptions"] = {
            name: int(graph.get(name) or value) for name, value in _GRAPH.items()
        }
    return options


def _fields(definition: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = definition.get("fields")
    return found if isinstance(found, list) else []


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(part)}" for name, part in value.items()) + "}"
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
