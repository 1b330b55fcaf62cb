"""The resource `search_index`: how vectors are indexed and searched, and by which engine."""

from collections.abc import Callable

from pymongo import MongoClient

from resources.batch_store.store import BatchStore
from resources.core.errors import SearchIndexError
from resources.core.space import EmbeddingSpace
from resources.mongodb.deployment import Deployment, inspect_deployment
from resources.registry.registry import Registry
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.engine import SearchEngine
from resources.search_index.local.engine import LocalEngine
from resources.search_index.mongodb.engine import MongoDBEngine
from resources.search_index.mongodb.lifecycle import THREE_WAYS
from resources.vector_store.store import VectorStore


class SearchIndexResource(IndexDeclaration):
    """The index over the vectors: how it compares them, and what searches may filter by."""

    def check_deployment(self, client: MongoClient, database: str) -> None:
        """To be asked before a run spends anything.

        Raises:
            SearchIndexError: `engine: mongodb` on a deployment without Vector Search.
        """
        if self.engine == "mongodb":  # the others work on any
            self._deployment(client, database)

    def _deployment(self, client: MongoClient, database: str) -> Deployment:
        found = inspect_deployment(client, database)
        if self.engine == "mongodb" and not found.vector_search:
            raise SearchIndexError(
                f"search_index has `engine: mongodb`, but this is a {found} ({found.reason}): "
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
        fields = [*map(store.place, self.filter_fields)]
        return self.model_copy(update={"filter_fields": fields, "text": text})

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
                log(f"{found} ({found.reason}): the local engine serves the index")
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
