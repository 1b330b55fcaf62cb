"""The indexes on the server as searches see them: one round trip a search."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from pymongo.errors import OperationFailure

from resources.core.errors import QueryRefused
from resources.core.once import once
from resources.mongodb.deployment import server_version
from resources.registry.indexes import IndexEntry
from resources.search_index import fusion
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.engine import ServedIndex
from resources.search_index.mongodb import server_fusion, text_search, vector_search
from resources.search_index.mongodb.definition import answers_alone, filter_paths
from resources.search_index.mongodb.silence import why_silent
from resources.search_index.mongodb.text_definition import index_name
from resources.search_index.query import Hit, Query
from resources.sources.fields import without_nested
from resources.vector_store.store import VectorStore

Stages = list[dict[str, Any]]
_SCORE = "__score"


class ServedByMongoDB(ServedIndex):
    """A vector index, and the search index over the texts beside it where one is declared.

    Args:
        entry: What the registry says of them; its definitions are what they serve.
        definition: Of the vector index.
        store: The vectors.
        declared: As the resource `search_index` has it.
        why_missing: Says why the index holds fewer vectors than are stored; empty if it does not.
    """

    def __init__(
        self,
        entry: IndexEntry,
        definition: Mapping[str, Any],
        *,
        store: VectorStore,
        declared: IndexDeclaration,
        why_missing: Callable[[], str],
    ) -> None:
        super().__init__(entry)
        self._definition, self._store, self._declared = definition, store, declared
        self._index, self._text_index = declared.name, index_name(declared.name)
        self._collection, self._why_missing = store.searched, why_missing
        self._fuses = True
        self._only = {f"{store.lineage_path}.space": entry.space_id}

    @property
    def filter_fields(self) -> Sequence[str]:
        return [name for name in filter_paths(self._definition) if name not in self._only]

    def check(self, query: Query) -> None:
        super().check(query)
        if query.mode == "hybrid" and self._by_score and self._version < server_fusion.SCORE_FUSION:
            raise QueryRefused(server_fusion.too_old(self._version))

    def nearest(self, vector: np.ndarray, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        stage = self._stage(vector, query)
        if self._from_copy(self._definition, fields):
            stage["returnStoredSource"] = True
        return self._found([{"$vectorSearch": stage}], vector_search.SCORE, fields, self._index)

    def _from_copy(self, definition: Mapping[str, Any] | None, fields: Sequence[str]) -> bool:
        return self._declared.return_stored_source and answers_alone(definition or {}, fields)

    def why_no_text(self) -> str:
        if not self._declared.text:
            return (
                f"the index {self._index} holds vectors only: declare `text: {{}}` in "
                "search_index, and materialize it, which makes a search index over the texts"
            )
        if not self.entry.text_definition:
            return (
                f"the search index {self._text_index} over the texts is declared and not made "
                "yet: materialize search_index"
            )
        return ""

    def matching(self, text: str, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        stages = self._text_stages(text, query)
        if not text_search.has_words(text):
            return []
        # What follows the search compares these as well.
        compared = [*fields, *self._only, *self.filter_fields]
        if self._from_copy(self.entry.text_definition, compared):
            stages[0]["$search"]["returnStoredSource"] = True
        return self._found(stages, text_search.SCORE, fields, self._text_index)

    def fused(
        self, text: str, vector: np.ndarray, query: Query, fields: Sequence[str] = ()
    ) -> list[Hit]:
        stage = self._fusion([{"$vectorSearch": self._stage(vector, query.widened())}], text, query)
        if stage and text_search.has_words(text):
            try:
                after = server_fusion.after(stage, _projection(fields), query.limit)
                rows = list(self._collection.aggregate([stage, *after]))
                return server_fusion.hits(rows, documents=bool(fields))
            except OperationFailure as error:
                if not server_fusion.not_there(error) or "$scoreFusion" in stage:
                    raise vector_search.explained(error, self._index) from error
                # Its version has it, and it does not let us: nor will it the next time.
                self._fuses = False
        return self._fused_here(text, vector, query, fields)

    def fused_by(self, text: str, query: Query) -> str:
        if self._by_score and text_search.has_words(text):
            return server_fusion.SCORE_MEANING
        return super().fused_by(text, query)

    def _fused_here(
        self, text: str, vector: np.ndarray, query: Query, fields: Sequence[str]
    ) -> list[Hit]:
        """Both searches at once, each a trip of its own."""
        wide = query.widened()
        with ThreadPoolExecutor(1) as beside:
            by_text = beside.submit(self.matching, text, wide, fields)
            by_vector = self.nearest(vector, wide, fields)
            return fusion.by_rank({"vector": by_vector, "text": by_text.result()}, query)

    def _fusion(self, vector: Stages, text: str, query: Query) -> dict[str, Any] | None:
        """The server's fusion; None where that is ours to do."""
        # Refused, if it is, before the server is asked for anything.
        texts = self._text_stages(text, query.widened(), ordered=False)
        if self._by_score:
            if self._version < server_fusion.SCORE_FUSION:
                raise QueryRefused(server_fusion.too_old(self._version))
            return server_fusion.score_stage(vector, texts, query)
        if not self._fuses or not server_fusion.ranks_alike(query):
            return None
        if self._version < server_fusion.RANK_FUSION:
            return None
        return server_fusion.rank_stage(vector, texts, query)

    @property
    def _by_score(self) -> bool:
        return self._declared.text is not None and self._declared.text.fusion == "score"

    @once
    def _version(self) -> tuple[int, int]:
        return server_version(self._collection.database.client)

    def _found(
        self, stages: Stages, score: Mapping[str, Any], fields: Sequence[str], index: str
    ) -> list[Hit]:
        project = {"$project": {**_projection(fields), _SCORE: score}}
        try:
            rows = list(self._collection.aggregate([*stages, project]))
        except OperationFailure as error:
            raise vector_search.explained(error, index) from error
        return [Hit(row["_id"], row.pop(_SCORE), document=row if fields else None) for row in rows]

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

    def _text_stages(self, text: str, query: Query, *, ordered: bool = True) -> Stages:
        why = self.why_no_text()
        if why or not self.entry.text_definition:
            raise QueryRefused(why)
        return text_search.build_stages(
            text,
            query,
            index=self._text_index,
            definition=self.entry.text_definition,
            # The same for both halves: what one may filter by, the other may.
            filters=self.filter_fields,
            only=self._only,
            ordered=ordered,
        )

    def explain(self, vector: np.ndarray | None, text: str, query: Query) -> Mapping[str, Any]:
        if query.mode == "text":
            stages = self._text_stages(text, query)
            return {name: body for stage in stages for name, body in stage.items()}
        assert vector is not None
        if query.mode == "vector":
            return vector_search.shown(self._stage(vector, query), vector)
        wide = query.widened()
        shown = vector_search.shown(self._stage(vector, wide), vector)
        stage = self._fusion([shown], text, query)
        pipelines = {"vector": [shown], "text": self._text_stages(text, wide)}
        return stage or {"reciprocal rank fusion": pipelines}

    def why_empty(self, query: Query) -> str:
        indexes = {"vector": [self._index], "text": [self._text_index]}
        names = indexes.get(query.mode) or [self._index, self._text_index]
        why = why_silent(self._store, names, self.entry.space_id, query)
        return why or self._why_missing()


def _projection(fields: Sequence[str]) -> dict[str, int]:
    return dict.fromkeys(without_nested(["_id", *fields]), 1)
