"""What an asset's page says of it before its first run too: where it lies, and its columns.

A run says the same again, with what it overrides and what only it knows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import dagster as dg

from assets.about import Settings, uri_value
from resources.core.errors import ConfigurationError
from resources.core.lineage import lineage_path
from resources.core.markdown import literal
from resources.core.space import EmbeddingSpace
from resources.mongodb.resource import Embedded
from resources.registry.pipeline_spaces import placed
from resources.search_index.engine import IndexReport
from resources.sources.chunking import PLACE_FIELD
from resources.sources.collection import CollectionOrigin
from resources.sources.locate import location
from resources.sources.resource import SourceResource
from resources.vector_store.layout import place
from resources.vector_store.ownership import INSERTED_FIELD
from resources.vector_store.store import SOURCE_FIELD, TEXT_FIELD

ANY = "any"
"""Type of what is carried along: whatever the source has there."""

ANY_SPACE = "<space>"
"""Stands for the id of a space that is not known yet."""

Column = tuple[str, str, str]
"""Name, type, and what it is, as text."""

_ARROW = {"float32": "float", "int8": "int8", "packed_bit": "uint8"}


def source_documents(s: Settings, upstream: dg.AssetKey | None) -> dict[str, Any]:
    """Of the asset `source_documents`.

    Args:
        s: The pipeline's.
        upstream: The asset whose columns the source's fields are.
    """
    source = s.source
    whole = source.origin.kind == "folder"  # a file is a text, and its path the id
    fields = () if whole else _text_fields(source)
    of_what = "of the chunk" if source.chunking.describe() else "of the source document"
    columns: list[Column] = [
        ("_id", ANY, of_what + ("" if whole else f", from {source.id_field}")),
        ("text", "string", "what is embedded" + (f", from {', '.join(fields)}" if fields else "")),
        *((name, ANY, "carried along") for name in source.carry),
    ]
    found: dict[str, Any] = {}
    if isinstance(source.origin, CollectionOrigin):
        namespace = source.origin.namespace
        found |= {"dagster/table_name": namespace, **_uri(_mongodb(s, namespace))}
    else:
        found |= _uri(_safely(source.uri))
    if upstream is None or whole:
        return found | _columns(columns, {})
    made = {**{name: [name] for name in source.carry}, "_id": [source.id_field], "text": fields}
    lineage = {
        name: [dg.TableColumnDep(upstream, of) for of in theirs] for name, theirs in made.items()
    }
    return found | _columns(columns, lineage)


def embedding_batches(s: Settings, space: EmbeddingSpace | None = None) -> dict[str, Any]:
    """Of the asset `embedding_batches`.

    Args:
        s: The pipeline's.
        space: Where it is known.
    """
    vector = "fixed_size_list"
    if space is not None:
        vector += f"<{_ARROW[space.element]}>[{space.width}]"
    columns = [
        ("chunk_id", "string", "first chunk with this text, as JSON"),
        ("text_hash", "string", "SHA-256 of the text"),
        ("vector", vector, "the embedding"),
        ("tokens", "int32", "as the provider counts, before truncation"),
        ("model", "string", "which model embedded it"),
        ("batch", "string", "the embedding batch it was first written in"),
        ("run", "string", "the Dagster run that embedded it"),
        ("at", "timestamp[ms]", "when"),
        ("cut", "bool", "whether the model saw only the beginning of the text, or may have"),
    ]
    documents = s.key("source_documents")
    lineage = {
        "chunk_id": [dg.TableColumnDep(documents, "_id")],
        "text_hash": [dg.TableColumnDep(documents, "text")],
        "vector": [dg.TableColumnDep(documents, "text")],
    }
    folder = "/".join(["batches", *([space.id] if space else [])])
    uri = _safely(lambda: location(f"{s.batch_store.describe()}/{folder}"))
    return _uri(uri) | _columns(columns, lineage)


def stored_vectors(
    s: Settings, upstream: dg.AssetKey | None, stored_as: str = ""
) -> dict[str, Any]:
    """Of the asset `stored_vectors`.

    Args:
        s: The pipeline's.
        upstream: As of `source_documents`.
        stored_as: The format of the vectors, where it is known.
    """
    store, source = s.vector_store, s.source
    wanted = "" if store.dtype == "auto" else store.dtype
    batches, documents = s.key("embedding_batches"), s.key("source_documents")
    columns: list[Column] = [("_id", ANY, "of the chunk")]
    lineage = {"_id": [dg.TableColumnDep(documents, "_id")]}
    if store.in_place:
        # They are the source's own, and stay what they are.
        columns = [("_id", ANY, "of the source document")]
        columns += [(name, "string", "is embedded") for name in _text_fields(source)]
        columns += [(name, ANY, "of the source document") for name in source.carry]
        kept = [name for name, *_ in columns]
        lineage = {name: [dg.TableColumnDep(upstream, name)] for name in kept if upstream}
    else:
        columns += [
            (SOURCE_FIELD, ANY, "of the source document"),
            (TEXT_FIELD, "string", "the embedded text"),
        ]
        lineage[TEXT_FIELD] = [dg.TableColumnDep(documents, "text")]
        for name in source.carry:
            at = place(store.layout, name, source.carry)
            columns.append((at, ANY, "carried along"))
            lineage[at] = [dg.TableColumnDep(documents, name)]
        if source.chunking.describe():
            columns.append((PLACE_FIELD, "object", "the chunk's place in its source document"))
        columns.append((INSERTED_FIELD, "string", "the pipeline that put the document here"))
    columns += [
        (store.path, f"vector {stored_as or wanted}".strip(), "the embedding"),
        (store.lineage_path, "object", "who made the vector: space, model, batch, run, time, …"),
    ]
    lineage[store.path] = [dg.TableColumnDep(batches, "vector")]
    if store.rescore != "none":
        columns.append((store.rescore_path, f"vector {store.rescore}", "finer, not indexed"))
        lineage[store.rescore_path] = [dg.TableColumnDep(batches, "vector")]
    namespace = _namespace(s)
    where = {"dagster/table_name": namespace, **_uri(_mongodb(s, namespace))} if namespace else {}
    return where | _columns(columns, lineage)


def search_index(s: Settings, report: IndexReport | None = None) -> dict[str, Any]:
    """Of the asset `search_index`.

    Args:
        s: The pipeline's.
        report: Of the engine that serves it, once one does.
    """
    store, index = s.vector_store, s.search_index
    carried = [] if store.in_place else s.source.carry
    uses: dict[str, list[str]] = {}
    for names, use in ((index.filter_fields, "filter"), (_searched_by_words(s), "words")):
        for name in names:
            uses.setdefault(place(store.layout, name, carried), []).append(use)
    columns: list[Column] = [(store.path, "vector", f"compared by {index.similarity}")]
    columns += [(name, " + ".join(kinds), "searches use it") for name, kinds in uses.items()]
    vectors = s.key("stored_vectors")
    lineage = {name: [dg.TableColumnDep(vectors, name)] for name, *_ in columns}
    # No table name: Dagster takes assets of one table for one that was loaded twice.
    where: dict[str, Any] = {}
    namespace = _namespace(s)
    if namespace:
        where["vector store"] = f"{namespace}:{store.path}"
        if (report.engine if report else index.engine) == "mongodb":
            where |= _uri(_mongodb(s, namespace))
    if report and (files := report.details.get("index files")):
        where |= _uri(_safely(lambda: location(files)))
    return where | {"index": index.name} | _columns(columns, lineage)


def candidate_space(s: Settings, place: str = "") -> dict[str, Any]:
    """Of the asset `candidate_space`.

    Args:
        s: The pipeline's; in the space that is built, where one is.
        place: Of that space, beside the first; empty before it is known.
    """
    path, index = s.vector_store.path, s.search_index.name
    if not place:
        path, index = placed(path, ANY_SPACE), placed(index, ANY_SPACE)
    columns: list[Column] = [
        (path, "vector", "the embedding in the space that is built"),
        (lineage_path(path), "object", "who made the vector: space, model, batch, run, time, …"),
    ]
    texts = [dg.TableColumnDep(s.key("source_documents"), "text")]
    # As of the index: no table name, for the table is that of the stored vectors.
    namespace = _namespace(s)
    where: dict[str, Any] = {}
    if namespace:
        where = {"vector store": f"{namespace}:{path}", **_uri(_mongodb(s, namespace))}
    return where | {"index": index} | _columns(columns, {path: texts})


def _text_fields(source: SourceResource) -> Sequence[str]:
    try:
        return source.text_shape().fields
    except ValueError:  # only the environment says which
        return ()


def _searched_by_words(s: Settings) -> Sequence[str]:
    if s.search_index.text is None:
        return ()
    own = _text_fields(s.source) if s.vector_store.in_place else (TEXT_FIELD,)
    return s.search_index.text.fields or own


def _namespace(s: Settings) -> str | None:
    try:
        return ".".join(s.vector_store.namespace(s.source))
    except (ConfigurationError, ValueError):  # a run says what is wrong
        return None


def _mongodb(s: Settings, namespace: str) -> str | None:
    deployment = s.mongodb.deployment
    address = _safely(lambda: deployment.address)
    if not address or isinstance(deployment, Embedded):
        return address
    return f"{address}/{namespace}"


def _safely(uri: Callable[[], str | None]) -> str | None:
    try:
        return uri()
    except (ConfigurationError, ValueError):  # no project, no absolute path: there is no URI
        return None


def _uri(uri: str | None) -> dict[str, Any]:
    return {"dagster/uri": uri_value(uri)} if uri else {}


def _columns(
    columns: Iterable[Column], lineage: Mapping[str, Sequence[dg.TableColumnDep]]
) -> dict[str, Any]:
    """Schema and lineage; the descriptions of columns are Markdown."""
    # A field may be embedded and carried along as well: it is one column.
    once: dict[str, dg.TableColumn] = {}
    for name, kind, what in columns:
        once.setdefault(name, dg.TableColumn(name, kind, description=literal(what)))
    schema = dg.TableSchema(list(once.values()))
    found: dict[str, Any] = {"dagster/column_schema": schema}
    if lineage:
        found["dagster/column_lineage"] = dg.TableColumnLineage(lineage)
    return found
