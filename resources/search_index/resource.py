"""The resource `search_index`: how vectors are indexed and searched, and by which engine."""

from collections.abc import Callable

from pymongo import MongoClient

from resources.batch_store.store import BatchStore
from resources.core.errors import SearchIndexError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Dtype
from resources.mongodb.deployment import (
    NO_SEARCH,
    Deployment,
    inspect_deployment,
    server_version,
)
from resources.registry.registry import Registry
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.engine import SearchEngine
from resources.search_index.local.engine import LocalEngine
from resources.search_index.mongodb.engine import MongoDBEngine
from resources.search_index.mongodb.lifecycle import THREE_WAYS
from resources.search_index.mongodb.server_fusion import SCORE_FUSION, too_old
from resources.vector_store.store import VectorStore


class SearchIndexResource(IndexDeclaration):
    """The index over the vectors: how it compares them, and what searches may filter by."""

    def check_deployment(self, client: MongoClient, database: str, dtype: Dtype) -> None:
        """To be asked before a run spends anything.

        Args:
            client: A connected client.
            database: Of the vectors.
            dtype: Of the stored vectors.

        Raises:
            SearchIndexError: `engine: mongodb` on a deployment without Vector Search; a fusion or a
                quantization that it does not do.
        """
        if self.engine == "mongodb":  # the others work on any
            self._deployment(client, database)
        if self.text and self.text.fusion == "score":
            self._check_score_fusion(client, database)
        if self.engine != "local" and self.quantization != "none" and dtype == "int8":
            self._check_int8(client, database)

    def _check_int8(self, client: MongoClient, database: str) -> None:
        found = self._deployment(client, database)
        if found.vector_search and found.kind != "Atlas":
            raise SearchIndexError(
                f"search_index has `quantization: {self.quantization}` and vector_store `dtype: "
                f"int8`, which Atlas takes together and this, {found.name}, is not known to: it "
                "might leave the vectors out of the index without a word; remove "
                "`quantization`, or store floats"
            )

    def _check_score_fusion(self, client: MongoClient, database: str) -> None:
        if self.engine == "local" or not self._deployment(client, database).vector_search:
            raise SearchIndexError(
                "search_index has `text: {fusion: score}`, which the local engine does not do: "
                "remove it, and places are added up instead"
            )
        version = server_version(client)
        if version < SCORE_FUSION:
            raise SearchIndexError(too_old(version))

    def _deployment(self, client: MongoClient, database: str) -> Deployment:
        found = inspect_deployment(client, database)
        if self.engine == "mongodb" and not found.vector_search:
            raise SearchIndexError(
                f"search_index has `engine: mongodb`, but there is {NO_SEARCH} ({found.name}): "
                f"{THREE_WAYS}"
            )
        return found

    def _placed(self, store: VectorStore) -> IndexDeclaration:
        """The same with fields named as the store's layout has them."""
        if store.layout == "plain":
            return self
        text = self.text
        if text is not None:
            text = text.model_copy(update={"fields": [*map(store.place, text.fields)]})
        names = ("filter_fields", "stored_source_include", "stored_source_exclude")
        placed = {name: [*map(store.place, getattr(self, name))] for name in names}
        return self.model_copy(update={**placed, "text": text})

    def open(
        self,
        client: MongoClient,
        *,
        store: VectorStore,
        batches: BatchStore,
        registry: Registry,
        space: EmbeddingSpace,
        pipeline: str,
        served_by: str | None = None,
        log: Callable[[str], None] = lambda _: None,
    ) -> SearchEngine:
        """The engine.

        Args:
            client: A connected client.
            store: The vectors.
            batches: Where a local index lies.
            registry: Says what an index was built from.
            space: Of the vectors that the index shall hold.
            pipeline: Whose index it is.
            served_by: The engine that made the index, where that is known; `auto` keeps to it.
            log: Told why `auto` falls back.

        Raises:
            SearchIndexError: `engine: mongodb` on a deployment without Vector Search.
        """
        declared = self._placed(store)
        engine = served_by if served_by and self.engine in ("auto", served_by) else self.engine
        if engine != "local" and engine != served_by:
            found = self._deployment(client, store.collection.database.name)
            if not found.vector_search:
                log(f"{found}, so the local engine serves the index")
            engine = "mongodb" if found.vector_search else "local"
        if engine == "mongodb":
            return MongoDBEngine(store=store, registry=registry, space=space, declared=declared)
        return LocalEngine(
            store=store,
            batches=batches,
            registry=registry,
            space=space,
            pipeline=pipeline,
            declared=declared,
        )
