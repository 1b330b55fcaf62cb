"""A version of a local index as searches see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from resources.core.errors import QueryRefused
from resources.registry.indexes import IndexEntry
from resources.search_index.engine import ServedIndex
from resources.search_index.local.version import Version
from resources.search_index.query import Hit, Query


class ServedLocally(ServedIndex):
    """A version that is open.

    Args:
        entry: What the registry says of it.
        version: The same, opened.
        folder: Of all versions, for people.
        path: Of the vectors, for people.
    """

    def __init__(self, entry: IndexEntry, version: Version, *, folder: str, path: str) -> None:
        super().__init__(entry)
        self.version, self._folder, self._path = version, folder, path

    def __len__(self) -> int:
        return len(self.version)

    def nearest(self, vector: np.ndarray, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        return self.version.search(vector, query)

    def why_no_text(self) -> str:
        return "this index holds vectors only"

    def matching(self, text: str, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        raise QueryRefused(self.why_no_text())

    def explain(self, vector: np.ndarray | None, text: str, query: Query) -> Mapping[str, Any]:
        version = self.version
        stage: dict[str, Any] = {
            "index": self._folder,
            "path": self._path,
            "limit": query.limit,
            **({"exact": True} if query.exact else {"numCandidates": query.candidates}),
        }
        if query.filter is not None:
            stage["filter"] = dict(query.filter)
            stage["passing the filter"] = version.count(query.filter)
        return {
            "local engine": {
                **stage,
                "vectors": len(version),
                "similarity": version.shape.similarity,
            }
        }

    def why_empty(self, query: Query) -> str:
        version = self.version
        if not len(version):
            return f"the index over {self.entry.store} is empty: materialize the pipeline"
        if query.filter is not None and not version.count(query.filter):
            return f"none of the {len(version):,} indexed documents passes the filter"
        return ""
