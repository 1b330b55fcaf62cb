"""The definition of a `search` index over the texts: made from the declaration, compared, read.

Source: "Define Field Mappings" and the field types of the MongoDB Search documentation. Filter
fields are mapped as every type that `text_filter` asks for, which is not all that a filter may
compare: the rest is for mongod to judge.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from resources.search_index.declaration import IndexDeclaration

TYPE = "search"
FILTERED_AS = ("token", "boolean", "date", "objectId", "uuid")
"""No `number`: it leaves Decimal128 out, and does not tell integers beyond 2^53 apart."""
IDS = ("token", "number", "date", "objectId", "uuid")
"""Of `_id`, which tells documents of one score apart."""


def index_name(name: str) -> str:
    """Of the search index beside the vector index of this name."""
    return f"{name}_text"


def build_text_definition(
    declared: IndexDeclaration, *, fields: Sequence[str], space_path: str, path: str
) -> dict[str, Any]:
    """What `createSearchIndexes` and `updateSearchIndex` take.

    Args:
        declared: As the resource `search_index` has it, with `text`.
        fields: That hold the texts.
        space_path: Where a document names the space of its vector; every search filters by it.
        path: Of the vector.
    """
    assert declared.text is not None
    types: dict[str, list[dict[str, Any]]] = {
        name: [{"type": "string", "analyzer": declared.text.analyzer}] for name in fields
    }
    plain = {**dict.fromkeys(declared.filter_fields, FILTERED_AS), "_id": IDS}
    for name in declared.filter_fields:
        plain[name] = tuple(dict.fromkeys([*FILTERED_AS, *plain[name]]))
    plain.setdefault(space_path, ("token",))
    for name, kinds in plain.items():
        types.setdefault(name, []).extend({"type": kind} for kind in kinds)
    definition: dict[str, Any] = {"mappings": {"dynamic": False, "fields": _nested(types)}}
    source = declared.stored_source(path) if declared.return_stored_source else None
    if source:
        definition["storedSource"] = source
    return definition


def _nested(types: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Dotted paths as documents in documents; a field may be one and hold a value as well."""
    fields: dict[str, Any] = {}
    inner: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for path, kinds in types.items():
        name, _, rest = path.partition(".")
        if rest:
            inner.setdefault(name, {})[rest] = kinds
        else:
            fields.setdefault(name, []).extend(kinds)
    for name, paths in inner.items():
        document = {"type": "document", "dynamic": False, "fields": _nested(paths)}
        fields.setdefault(name, []).append(document)
    return fields


def text_fields(definition: Mapping[str, Any]) -> dict[str, str]:
    """Path and analyzer of every field that holds text."""
    return {
        path: str(kind.get("analyzer", "lucene.standard"))
        for path, kind in _mapped(definition)
        if kind.get("type") == "string"
    }


def filtered_paths(definition: Mapping[str, Any]) -> set[str]:
    """Paths that a search can be filtered by."""
    types: dict[str, set[str]] = {}
    for path, kind in _mapped(definition):
        types.setdefault(path, set()).add(str(kind.get("type")))
    return {path for path, kinds in types.items() if kinds >= set(FILTERED_AS)}


def described(definition: Mapping[str, Any]) -> list[str]:
    """A line for each field, for people."""
    lines: dict[str, list[str]] = {}
    for path, kind in _mapped(definition):
        lines.setdefault(path, []).append(str(kind.get("analyzer") or kind.get("type")))
    return [f"{path} ({', '.join(kinds)})" for path, kinds in lines.items()]


def text_differences(served: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """How a definition differs from the one wanted, for people; empty where they mean the same.

    Only what is declared is compared, as a server fills in defaults of its own.
    """
    mine, theirs = _meaning(wanted), _meaning(served)
    return [
        f"{name} is {theirs.get(name) or 'not set'}, not {mine.get(name) or 'set'}"
        for name in sorted({*mine, *theirs})
        if mine.get(name) != theirs.get(name)
    ]


def _meaning(definition: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for path, kind in _mapped(definition):
        name = str(kind.get("type"))
        if name == "string":
            name += f" by {kind.get('analyzer', 'lucene.standard')}"
        found.setdefault(path, []).append(name)
    meaning = {path: ", ".join(sorted(kinds)) for path, kinds in found.items()}
    if (definition.get("mappings") or {}).get("dynamic"):
        meaning["dynamic mapping"] = "on"
    source = definition.get("storedSource")
    if isinstance(source, Mapping):
        kept = {name: sorted(paths) for name, paths in source.items() if paths}
        meaning["storedSource"] = str(kept) if kept else ""
    elif source:
        meaning["storedSource"] = "of all"
    return {name: value for name, value in meaning.items() if value}


def _mapped(definition: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted path and type of every field; a single type may stand without its list."""
    yield from _fields((definition.get("mappings") or {}).get("fields") or {}, "")


def _fields(fields: Mapping[str, Any], above: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, given in fields.items():
        for kind in given if isinstance(given, list) else [given]:
            if kind.get("type") == "document":
                yield from _fields(kind.get("fields") or {}, f"{above}{name}.")
            else:
                yield f"{above}{name}", kind
