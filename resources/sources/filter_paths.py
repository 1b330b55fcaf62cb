"""The fields that a MongoDB query looks at, however deep it hides them."""

from collections.abc import Iterator, Mapping
from typing import Any

from resources.sources.fields import overlap

ANYTHING = "*"
"""Stands for every field: the query looks at documents in a way that cannot be followed."""

_LOGICAL = {"$and", "$or", "$nor"}
_OPAQUE = {"$where", "$function", "$accumulator", "$text"}
_OF_VALUES = {"$comment", "$rand", "$sampleRate", "$jsonSchema", "$expr", *_LOGICAL, *_OPAQUE}
_SCHEMAS = ("allOf", "anyOf", "oneOf")
_WHOLE = {"ROOT", "CURRENT"}


def paths_of(query: Mapping[str, Any]) -> set[str]:
    """Every field path that a query mentions; ANYTHING where it runs code or a text index."""
    return set(_of_query(query, ""))


def depends_on(query: Mapping[str, Any], path: str) -> bool:
    """Whether a query looks at a path, at something in it, or at what it is in."""
    return any(found == ANYTHING or overlap(found, path) for found in looked_at(query))


def looked_at(query: Mapping[str, Any]) -> Iterator[str]:
    """Paths that a query looks at, without places in lists; `ANYTHING` where it cannot be told."""
    return map(without_positions, paths_of(query))


def without_positions(path: str) -> str:
    """`a.0.b` of a list is `a.b` of its elements."""
    parts = path.split(".")
    return ".".join([parts[0], *(part for part in parts[1:] if not part.isdigit())])


def _of_query(query: Any, prefix: str) -> Iterator[str]:
    if not isinstance(query, Mapping):
        return
    for name, value in query.items():
        if name in _LOGICAL:
            for part in value if isinstance(value, list) else ():
                yield from _of_query(part, prefix)
        elif name == "$expr":
            yield from _of_expression(value, {})
        elif name == "$jsonSchema":
            yield from _of_schema(value, prefix)
        elif name in _OPAQUE:
            yield ANYTHING
        elif name not in _OF_VALUES:
            # An operator here speaks of the elements of the list that the prefix names.
            path = prefix if name.startswith("$") else _joined(prefix, name)
            if path:
                yield path
            yield from _of_condition(value if path != prefix else {name: value}, path)


def _of_condition(condition: Any, path: str) -> Iterator[str]:
    """`{$elemMatch: {x: 1}}` and `{$not: …}` hold queries; the other operators hold values."""
    if not isinstance(condition, Mapping):
        return
    for name, value in condition.items():
        if name == "$elemMatch":
            yield from _of_query(value, path)
        elif name == "$not":
            yield from _of_condition(value, path)


def _of_schema(schema: Any, prefix: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        return
    for name in schema.get("required") or ():
        yield _joined(prefix, name)
    for name, inner in (schema.get("properties") or {}).items():
        yield _joined(prefix, name)
        yield from _of_schema(inner, _joined(prefix, name))
    if schema.get("patternProperties") or "additionalProperties" in schema:
        yield prefix or ANYTHING
    for dependency, inner in (schema.get("dependencies") or {}).items():
        yield _joined(prefix, dependency)
        if isinstance(inner, list):
            yield from (_joined(prefix, name) for name in inner)
        else:
            yield from _of_schema(inner, prefix)
    if {"minProperties", "maxProperties"} & set(schema):
        yield prefix or ANYTHING
    items = schema.get("items") or ()
    for inner in [schema.get("not"), schema.get("additionalItems"), *_list(items)]:
        yield from _of_schema(inner, prefix)
    for key in _SCHEMAS:
        for inner in schema.get(key) or ():
            yield from _of_schema(inner, prefix)


def _of_expression(value: Any, variables: Mapping[str, str]) -> Iterator[str]:
    """Field paths of an aggregation expression.

    Args:
        value: The expression.
        variables: What `$let`, `$map` and the like call a field, or "" where it is none.
    """
    if isinstance(value, str):
        if value.startswith("$"):
            yield from _of_reference(value, variables)
    elif isinstance(value, list):
        for inner in value:
            yield from _of_expression(inner, variables)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "$literal":
                continue
            if name in _OPAQUE:
                yield ANYTHING
            elif name == "$getField" or name in ("$setField", "$unsetField"):
                yield from _of_field(inner, variables)
            elif name in ("$let", "$map", "$filter", "$reduce"):
                yield from _of_scope(inner, variables)
            else:
                yield from _of_expression(inner, variables)


def _of_reference(text: str, variables: Mapping[str, str]) -> Iterator[str]:
    if not text.startswith("$$"):
        yield text[1:]
        return
    name, _, rest = text[2:].partition(".")
    if name in _WHOLE:
        yield rest or ANYTHING
    elif variables.get(name) is not None:
        base = variables[name]
        path = rest if base == "" else _joined(base, rest) if rest else base
        yield path or ANYTHING


def _of_field(inner: Any, variables: Mapping[str, str]) -> Iterator[str]:
    """`$getField: "a"`, or a field of what its input is."""
    if not isinstance(inner, Mapping) or "field" not in inner:
        field, source = inner, "$$CURRENT"
    else:
        field, source = inner["field"], inner.get("input", "$$CURRENT")
    if isinstance(field, Mapping) and set(field) == {"$literal"}:
        field = field["$literal"]
    elif not isinstance(field, str) or field.startswith("$"):
        yield ANYTHING  # its name is computed
        yield from _of_expression(field, variables)
        return
    base = _base(source, variables)
    if base is None:
        yield from _of_expression(source, variables)
    else:
        yield _joined(base, str(field))
    if isinstance(inner, Mapping):
        yield from _of_expression(inner.get("value"), variables)


def _base(source: Any, variables: Mapping[str, str]) -> str | None:
    """The path that an expression is, "" where it is the document; None where it is neither."""
    if not isinstance(source, str) or not source.startswith("$"):
        return None
    if not source.startswith("$$"):
        return source[1:]
    name, _, rest = source[2:].partition(".")
    start = "" if name in _WHOLE else variables.get(name)
    return None if start is None else _joined(start, rest) if rest else start


def _of_scope(inner: Any, variables: Mapping[str, str]) -> Iterator[str]:
    """An expression that names its variables: each is the field that it stands for."""
    if not isinstance(inner, Mapping):
        yield from _of_expression(inner, variables)
        return
    own: dict[str, str] = {}
    named = inner.get("vars")
    if isinstance(named, Mapping):
        given = dict(named)
    else:
        source = inner.get("input")
        given = {str(inner.get("as", "this")): source}
        yield from _of_expression(source, variables)
    for name, value in given.items():
        base = _base(value, variables)
        if base is None:
            yield from _of_expression(value, variables)
        else:
            own[name] = base
            if base:
                yield base
    scope = {**{name: at for name, at in variables.items() if name not in given}, **own}
    for name, value in inner.items():
        if name not in ("vars", "input", "as"):
            yield from _of_expression(value, scope)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix and name else prefix or name


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
