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

    @property
    def filter_fields(self) -> Sequence[str]:
        return list(self.version.shape.filter_paths)

    @property
    def bytes(self) -> int:
        files = (file for segment in self.version.segments for file in segment.files.values())
        return sum(int(file.get("bytes", 0)) for file in files)

    def nearest(self, vector: np.ndarray, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        return self.version.search(vector, query)

    def why_no_text(self) -> str:
        if self.version.shape.tokenizer:
            return ""
        return (
            f"the index over {self.entry.store} holds vectors only: add `text: {{}}` to "
            "search_index and materialize search_index"
        )

    def matching(self, text: str, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        if why := self.why_no_text():
            raise QueryRefused(why)
        return self.version.matching(text, query)

    def explain(self, vector: np.ndarray | None, text: str, query: Query) -> Mapping[str, Any]:
        version = self.version
        stage: dict[str, Any] = {"index": self._folder, "limit": query.limit}
        if query.filter is not None:
            stage["filter"] = dict(query.filter)
            stage["passing the filter"] = version.count(query.filter)
        if query.mode != "text":
            stage |= {
                "path": self._path,
                **({"exact": True} if query.exact else {"numCandidates": query.candidates}),
                "vectors": len(version),
                "similarity": version.shape.similarity,
            }
        if query.mode != "vector":
            stage["text"] = self._explained(text)
        if query.mode == "hybrid":
            weights = dict(zip(("vector", "text"), query.weights, strict=True))
            stage["fused by"] = {"weights": weights, "rank_constant": query.rank_constant}
        return {"local engine": stage}

    def _explained(self, text: str) -> dict[str, Any]:
        """What is looked for: each term, in how many documents it is, and its weight in BM25."""
        texts = self.version.text
        if texts is None:
            raise QueryRefused(self.why_no_text())
        return {
            "tokenizer": self.version.shape.tokenizer,
            "documents": texts.rows,
            "terms": {
                f"{use.term.text.decode(errors='replace')}{'*' * use.term.prefix}": {
                    "documents": use.rows,
                    "weight": round(use.weight, 6),
                }
                for use in texts.uses(text)
            },
        }

    def why_empty(self, query: Query) -> str:
        version = self.version
        if not len(version):
            return f"the index over {self.entry.store} is empty: materialize the pipeline"
        if query.filter is not None and not version.count(query.filter):
            return f"none of the {len(version):,} indexed documents passes the filter"
        if query.mode == "text" and version.text is not None:
            return f"none of the {version.text.rows:,} indexed texts holds any of these words"
        return ""
