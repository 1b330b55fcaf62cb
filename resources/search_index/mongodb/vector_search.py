"""The stage `$vectorSearch`: built, checked before it is sent, its errors and silences explained.

Source: MongoDB's "Run Vector Search Queries". The server answers a wrong index name, an index that
is still building and a query of another element type with nothing at all, and no error.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from pymongo.errors import OperationFailure

from resources.core.errors import QueryRefused, SearchIndexError
from resources.core.vectors import Dtype, element_of, to_bson
from resources.mongodb.deployment import NO_SEARCH, lacks_search, server_message
from resources.search_index.filters.evaluation import validate
from resources.search_index.mongodb.definition import filter_paths, vector_field
from resources.search_index.mongodb.lifecycle import THREE_WAYS
from resources.search_index.query import Query, checked_vector

SCORE = {"$meta": "vectorSearchScore"}


def build_stage(
    vector: np.ndarray,
    query: Query,
    *,
    index: str,
    path: str,
    dtype: Dtype,
    definition: Mapping[str, Any],
    only: Mapping[str, str],
) -> dict[str, Any]:
    """The stage's body.

    Args:
        vector: Of the field's element type.
        query: How to search.
        index: Name of the index.
        path: Of the vector.
        dtype: Of the stored field; the query's must be the same.
        definition: What the index serves.
        only: Where a document names the space of its vector, and the space of this search: while
            a run replaces one space by another, both lie at the path, and are not to be mixed.

    Raises:
        QueryRefused: The server would refuse it, or silently find nothing.
    """
    field = vector_field(definition, path)
    if field is None:
        raise QueryRefused(
            f"the index {index} does not index {path!r}: materialize search_index, which makes it "
            "as it is declared"
        )
    asked = checked_vector(vector, element_of(dtype), field["numDimensions"], field["similarity"])
    wanted: dict[str, Any] = dict(only)
    if query.filter:
        validate(query.filter, [name for name in filter_paths(definition) if name not in only])
        wanted = {"$and": [wanted, dict(query.filter)]}
    return {
        "index": index,
        "path": path,
        # Doubles and float32 find each other; the smaller goes over the wire.
        "queryVector": to_bson(asked, "float32" if dtype == "array" else dtype),
        "limit": query.limit,
        "filter": wanted,
        **({"exact": True} if query.exact else {"numCandidates": query.candidates}),
    }


def shown(stage: Mapping[str, Any], vector: np.ndarray) -> dict[str, Any]:
    """The stage with its query vector shortened, for people."""
    start = ", ".join(f"{value:g}" for value in vector[:3])
    query = f"<{vector.dtype} x {len(vector)}: {start}, …>"
    return {"$vectorSearch": {**stage, "queryVector": query}}


def explained(error: OperationFailure, index: str) -> QueryRefused | SearchIndexError:
    """What the server's refusal of a search means."""
    text = server_message(error)
    if lacks_search(error):
        return SearchIndexError(f"{NO_SEARCH}: {THREE_WAYS}")
    if "needs to be indexed" in text or "not indexed as" in text or "indexed with" in text:
        return QueryRefused(
            f"the index {index} cannot answer this ({text}): materialize search_index, which "
            "makes it as it is declared"
        )
    if "connecting to" in text.lower():
        return SearchIndexError(
            f"the search nodes do not answer ({text}): see that mongot is running, and search again"
        )
    return SearchIndexError(f"the search in {index} failed with error {error.code}: {text}")
