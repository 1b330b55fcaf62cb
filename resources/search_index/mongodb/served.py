"""A `vectorSearch` index as searches see it: `$vectorSearch`, in one round trip."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from pymongo.errors import OperationFailure

from resources.core.errors import QueryRefused
from resources.core.vectors import dtype_of, element_of
from resources.registry.indexes import IndexEntry
from resources.search_index.engine import ServedIndex
from resources.search_index.mongodb import vector_search
from resources.search_index.mongodb.definition import filter_paths
from resources.search_index.mongodb.lifecycle import find_index, index_errors
from resources.search_index.query import Hit, Query
from resources.sources.fields import lookup, without_nested
from resources.vector_store.store import VectorStore

_SCORE = "__score"


class ServedByMongoDB(ServedIndex):
    """An index on the server.

    Args:
        entry: What the registry says of it.
        definition: That it serves.
        store: The vectors.
        index: Its name.
        why_missing: Says why the index holds fewer vectors than are stored; empty if it does not.
    """

    def __init__(
        self,
        entry: IndexEntry,
        definition: Mapping[str, Any],
        *,
        store: VectorStore,
        index: str,
        why_missing: Callable[[], str],
    ) -> None:
        super().__init__(entry)
        self._definition, self._store, self._index = definition, store, index
        self._collection, self._why_missing = store.collection, why_missing
        self._only = {f"{store.lineage_path}.space": entry.space_id}

    @property
    def filter_fields(self) -> Sequence[str]:
        return [name for name in filter_paths(self._definition) if name not in self._only]

    def nearest(self, vector: np.ndarray, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        stages = [
            {"$vectorSearch": self._stage(vector, query)},
            {
                "$project": {
                    **dict.fromkeys(without_nested(["_id", *fields]), 1),
                    _SCORE: vector_search.SCORE,
                }
            },
        ]
        try:
            rows = list(self._collection.aggregate(stages))
        except OperationFailure as error:
            raise vector_search.explained(error, self._index) from error
        return [Hit(row["_id"], row.pop(_SCORE), document=row if fields else None) for row in rows]

    def why_no_text(self) -> str:
        return f"the index {self._index} holds vectors only"

    def matching(self, text: str, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        raise QueryRefused(self.why_no_text())

    def _stage(self, vector: np.ndarray, query: Query) -> dict[str, Any]:
        return vector_search.build_stage(
            vector,
            query,
            index=self._index,
            path=self._store.path,
            dtype=self._store.dtype,
            definition=self._definition,
            only=self._only,
        )

    def explain(self, vector: np.ndarray | None, text: str, query: Query) -> Mapping[str, Any]:
        assert vector is not None
        return vector_search.shown(self._stage(vector, query), vector)

    def why_empty(self, query: Query) -> str:
        with index_errors(self._collection, self._index):
            state = find_index(self._collection, self._index)
        where = self._collection.full_name
        if state is None or state.status in ("DOES_NOT_EXIST", "DELETING"):
            return f"there is no index {self._index} on {where}: materialize search_index"
        if not state.queryable:
            return f"the index {self._index} is {state.status}: it answers once it is READY"
        wanted = self._only
        sample = self._collection.find_one(wanted, {self._store.path: 1})
        if sample is None:
            return (
                f"{where} holds no vector of the space {self.entry.space_id}: materialize the "
                "pipeline"
            )
        if query.filter:
            passing = {"$and": [wanted, dict(query.filter)]}
            if not self._collection.find_one(passing, {"_id": 1}):
                return f"no document of {where} passes the filter"
        stored = dtype_of(lookup(sample, self._store.path))
        if stored is not None and element_of(stored) != self._store.element:
            return (
                f"the stored vectors are {stored}, the query {self._store.element}: materialize "
                "the pipeline, which stores them as declared"
            )
        return self._why_missing()
