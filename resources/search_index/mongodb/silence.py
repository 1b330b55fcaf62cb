"""Why a search found nothing: the server gives no reason for an empty answer."""

from collections.abc import Sequence

from resources.core.vectors import dtype_of, element_of
from resources.search_index.mongodb.lifecycle import find_index, index_errors
from resources.search_index.query import Query
from resources.sources.fields import lookup
from resources.vector_store.store import VectorStore


def why_silent(store: VectorStore, indexes: Sequence[str], space_id: str, query: Query) -> str:
    """The cause as one sentence; empty where there is none to name.

    Args:
        store: The vectors.
        indexes: The names of those that were searched.
        space_id: Of the vectors that the search is for.
        query: As it was asked.
    """
    collection = store.collection
    where = collection.full_name
    for name in indexes:
        with index_errors(collection, name):
            state = find_index(collection, name)
        if state is None or state.status in ("DOES_NOT_EXIST", "DELETING"):
            return f"there is no index {name} on {where}: materialize search_index"
        if not state.queryable:
            return f"the index {name} is {state.status}: it answers once it is READY"
    wanted = {f"{store.lineage_path}.space": space_id}
    sample = collection.find_one(wanted, {store.path: 1})
    if sample is None:
        return f"{where} holds no vector of the space {space_id}: materialize the pipeline"
    if query.filter:
        passing = {"$and": [wanted, dict(query.filter)]}
        if not collection.find_one(passing, {"_id": 1}):
            return f"no document of {where} passes the filter"
    if query.mode == "text":
        which = "that passes the filter " if query.filter else ""
        return f"no document of {where} {which}has any of these words"
    stored = dtype_of(lookup(sample, store.path))
    if stored is not None and element_of(stored) != store.element:
        return (
            f"the stored vectors are {stored}, the query {store.element}: materialize "
            "the pipeline, which stores them as declared"
        )
    return ""
