"""What the definition of an index of type `search` may say, as far as the stand-in knows it."""

from collections.abc import Iterator, Mapping
from typing import Any

from tests.search_node.definitions import invalid, known

TYPES = {"string", "token", "number", "date", "boolean", "objectId", "uuid", "document"}
ANALYZERS = {
    "lucene.standard", "lucene.simple", "lucene.whitespace", "lucene.keyword", "lucene.english"
}  # fmt: skip


def validate(definition: Mapping[str, Any]) -> None:
    """Raises Refused as the server would."""
    known("definition", definition, {"mappings", "storedSource", "analyzer", "searchAnalyzer"})
    mappings = definition.get("mappings")
    if not isinstance(mappings, Mapping):
        raise invalid('"mappings" is required')
    # With dynamic mapping the real one indexes all fields; here, those that are named.
    known("mappings", mappings, {"dynamic", "fields"})
    _fields(mappings.get("fields", {}))
    source = definition.get("storedSource", False)
    if not isinstance(source, bool) and (len(source) != 1 or set(source) - {"include", "exclude"}):
        raise invalid('"storedSource" must be a boolean, or an object with include or exclude')


def _fields(fields: Mapping[str, Any]) -> None:
    for name, kinds in fields.items():
        if "." in name:
            raise invalid(f'"mappings.fields" contains a dotted name: {name}')
        seen = set()
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if kind.get("type") not in TYPES:
                raise invalid(f'"mappings.fields.{name}.type" is not one of {sorted(TYPES)}')
            if kind["type"] in seen:
                raise invalid(f'"mappings.fields.{name}" has the type {kind["type"]} twice')
            seen.add(kind["type"])
            match kind["type"]:
                case "document":
                    known(name, kind, {"type", "dynamic", "fields"})
                    _fields(kind.get("fields", {}))
                case "string":
                    known(name, kind, {"type", "analyzer", "searchAnalyzer"})
                    if kind.get("analyzer", "lucene.standard") not in ANALYZERS:
                        raise invalid(f'Analyzer "{kind["analyzer"]}" is not defined')
                case _:
                    known(name, kind, {"type"})


def mapped(definition: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """The types of every path, each with its options."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for path, kind in _walk(definition["mappings"].get("fields", {}), ""):
        found.setdefault(path, {})[kind["type"]] = kind
    return found


def _walk(fields: Mapping[str, Any], above: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, kinds in fields.items():
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            yield f"{above}{name}", kind
            if kind["type"] == "document":
                yield from _walk(kind.get("fields", {}), f"{above}{name}.")
