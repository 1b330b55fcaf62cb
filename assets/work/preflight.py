"""What would stop a run, asked before it reads or spends anything."""

from pymongo import MongoClient

from resources.core.errors import ConfigurationError
from resources.core.lineage import lineage_path
from resources.core.space import EmbeddingSpace
from resources.core.vectors import VectorFormat
from resources.registry.registry import Registry
from resources.search_index.resource import SearchIndexResource
from resources.sources.chunking import PLACE_FIELD
from resources.sources.collection import CollectionOrigin
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.store import SOURCE_FIELD, TEXT_FIELD, VectorStore, at_path


def check_settings(
    source: SourceResource,
    vector_store: VectorStoreResource,
    search_index: SearchIndexResource,
    space: EmbeddingSpace,
) -> None:
    """Settings that contradict each other; asks no server.

    Raises:
        ConfigurationError: They do.
    """
    vector_store.namespace(source)
    search_index.check(space, vector_store.format(space).dtype, vector_store.path)
    # What a hit brings along.
    fields = [*source.text_shape().fields, *source.carry]
    if not vector_store.in_place:
        fields = [TEXT_FIELD, SOURCE_FIELD, PLACE_FIELD, *source.carry]
        search_index.check_stored(fields)
    search_index.check_stored_source([*fields, vector_store.lineage_path])


def check_deployment(
    client: MongoClient,
    *,
    source: SourceResource,
    store: VectorStore,
    search_index: SearchIndexResource,
    registry: Registry,
    space: EmbeddingSpace,
) -> None:
    """What only the server knows; writes nothing.

    Raises:
        ConfigurationError: The vectors cannot be put where they should be.
        SearchIndexError: `engine: mongodb` on a deployment without Vector Search.
    """
    search_index.check_deployment(client, store.collection.database.name, store.dtype)
    _check_collections(client, source, store)
    _check_layouts(store, registry)
    _check_neighbours(store, registry, space)


def _check_collections(client: MongoClient, source: SourceResource, store: VectorStore) -> None:
    database, name = store.collection.database.name, store.collection.name
    kind = CollectionOrigin(database=database, collection=name).kind_of(client)
    if kind in ("timeseries", "view"):
        what = "time-series collection" if kind == "timeseries" else "view"
        raise ConfigurationError(
            f"{database}.{name} is a {what}, whose documents cannot hold vectors: give the vectors "
            "a collection of their own in `vector_store`"
        )
    origin = source.origin
    if not isinstance(origin, CollectionOrigin):
        return
    its_kind = origin.kind_of(client)
    if its_kind == "timeseries" and source.id_field == "_id":
        raise ConfigurationError(
            f"{origin.namespace} is a time-series collection, in which two documents may have one "
            "_id: name a field that tells them apart as `id_field`"
        )
    read = origin.underlying(client) if its_kind == "view" else None
    if not store.in_place and read == store.collection.full_name:
        raise ConfigurationError(
            f"the source {origin.namespace} is a view over {store.collection.full_name}, where the "
            "vectors would be put: name a collection of their own in `vector_store`, or read that "
            "collection itself, with `in_place: true`"
        )


def _check_layouts(store: VectorStore, registry: Registry) -> None:
    """A framework's reader would take a second vector of a document for metadata."""
    collection = store.collection
    for path in registry.stores.paths(collection.full_name):
        lineage = lineage_path(path)
        if path == store.path:
            continue
        found = collection.find_one({f"{lineage}.space": {"$exists": True}}, {lineage: 1})
        theirs = at_path(found or {}, lineage) or {}
        layout = VectorFormat.parse("float32", theirs.get("stored_as") or "").layout
        for which, here in ((layout, "there"), (store.layout, "here")):
            if found and which != "plain":
                raise ConfigurationError(
                    f"{collection.full_name} holds vectors at {path!r}, and this pipeline would "
                    f"put some at {store.path!r}: the reader of `layout: {which}`, declared "
                    f"{here}, knows one vector a document; name another `collection` in "
                    "vector_store"
                )


def _check_neighbours(store: VectorStore, registry: Registry, space: EmbeddingSpace) -> None:
    """Vectors of others at our path: of the same space and format they may stay beside ours."""
    if not store.in_place and not store.adopt:
        bare = store.without_lineage()
        if bare:
            raise ConfigurationError(
                f"{bare:,} documents of {store.collection.full_name} have something at "
                f"{store.path!r} that no lineage explains: choose another `path` or collection in "
                "vector_store, or let `adopt: true` replace what the source has new texts for"
            )
    claim = registry.stores.claim(store.key)
    if claim.pipelines <= {store.pipeline} and store.pipeline in claim.marked:
        return  # nobody else has ever written here
    for other in store.spaces():
        owner = store.other_owner({"space": other}) if other != space.id else None
        if owner:
            raise ConfigurationError(
                f"{store.key} holds vectors of the space {other}, made by the pipeline {owner}, "
                f"and this one makes {space.id}: one path holds one space; choose another `path` "
                "or collection in vector_store"
            )
    format_name = str(store.format)
    others = {"space": space.id, "stored_as": {"$nin": [format_name, None]}}
    if format_name != "float32":
        others["stored_as"] = {"$ne": format_name}
    owner = store.other_owner(others)
    if owner:
        raise ConfigurationError(
            f"{store.key} holds vectors of the pipeline {owner} that are not stored as "
            f"{format_name}: give both the same `dtype`, `rescore` and `layout`, or choose another "
            "`path`"
        )
