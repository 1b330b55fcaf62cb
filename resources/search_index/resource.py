"""The resource `search_index`: how vectors are indexed and searched, and by which engine."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from pymongo import MongoClient

from resources.batch_store.store import BatchStore
from resources.core.config import StrictResource
from resources.core.errors import ConfigurationError, SearchIndexError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import (
    Dtype,
    Quantization,
    Similarity,
    check_dimensions,
    check_dtype,
)
from resources.mongodb.deployment import Deployment, inspect_deployment
from resources.registry.registry import Registry
from resources.search_index.engine import SearchEngine
from resources.search_index.local.builder import EXACT_BELOW
from resources.search_index.local.engine import LocalEngine
from resources.search_index.mongodb.engine import MongoDBEngine
from resources.search_index.mongodb.lifecycle import THREE_WAYS
from resources.vector_store.store import VectorStore


class SearchIndexResource(StrictResource):
    """The index over the vectors: how it compares them, and what searches may filter by."""

    engine: Literal["auto", "mongodb", "local"] = Field(
        default="auto",
        description="mongodb: `$vectorSearch`, which needs search nodes. local: an index file "
        "built from the stored vectors. auto: mongodb where the deployment offers it, else local.",
    )
    name: str = Field(default="vector_index", min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    similarity: Similarity = Field(
        default="dotProduct", description="dotProduct needs vectors of unit length."
    )
    quantization: Quantization = Field(
        default="none", description="What the server does to float vectors by itself (mongodb)."
    )
    filter_fields: list[str] = Field(
        default=[], description="Fields that searches may filter by; dots are allowed."
    )
    indexing_method: Literal["hnsw", "flat"] = Field(
        default="hnsw", description="flat: every search compares with all vectors (mongodb)."
    )
    exact_below: int = Field(
        default=EXACT_BELOW,
        ge=0,
        description="Up to this many vectors every search compares with all of them (local).",
    )
    max_edges: int = Field(default=16, ge=16, le=64, description="HNSW: edges per vector.")
    num_edge_candidates: int = Field(
        default=100, ge=100, le=3200, description="HNSW: candidates considered while building."
    )
    stored_source_include: list[str] = Field(
        default=[], description="Fields that search nodes keep a copy of (mongodb)."
    )
    stored_source_exclude: list[str] = Field(
        default=[], description="They keep a copy of all fields but these (mongodb)."
    )
    timeout_seconds: float = Field(
        default=3600, gt=0, description="How long a run waits for the index to serve (mongodb)."
    )
    poll_seconds: float = Field(
        default=5, gt=0, description="How often it asks meanwhile (mongodb)."
    )

    def check(self, space: EmbeddingSpace, dtype: Dtype, path: str) -> None:
        """Refuse a declaration that cannot serve vectors of this space, stored like this.

        Raises:
            ConfigurationError: As `check_declared`; dotProduct over vectors that are not of unit
                length; a width that no index can have.
        """
        self.check_declared(dtype, path)
        check_dimensions(space.dimensions, dtype, self.quantization)
        if self.similarity == "dotProduct" and not space.normalized:
            raise ConfigurationError(
                f"search_index has `similarity: dotProduct`, which needs unit length, but the "
                f"space {space.id} is not normalized: choose cosine, or normalize the embeddings"
            )

    def check_declared(self, dtype: Dtype | None, path: str) -> None:
        """Refuse settings that contradict each other, before anything is known of the vectors.

        Args:
            dtype: Of the stored vectors; None where the provider decides it.
            path: Where they are stored.

        Raises:
            ConfigurationError: A similarity or a quantization that does not go with the dtype; a
                filter over the vectors themselves; settings that exclude each other.
        """
        if path in self.filter_fields:
            raise ConfigurationError(
                f"search_index has {path!r} among its `filter_fields`, where the vectors are: "
                "remove it"
            )
        if dtype is not None:
            check_dtype(dtype, self.similarity, self.quantization)
        if self.indexing_method == "flat" and (self.max_edges, self.num_edge_candidates) != (
            16,
            100,
        ):
            raise ConfigurationError(
                "search_index has `indexing_method: flat`, which builds no graph: remove "
                "`max_edges` and `num_edge_candidates`"
            )
        if self.stored_source_include and self.stored_source_exclude:
            raise ConfigurationError(
                "search_index has both `stored_source_include` and `stored_source_exclude`: "
                "remove one of them"
            )

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
        key = index_key(store, self.name)
        engine = served_by if served_by and self.engine in ("auto", served_by) else self.engine
        if engine != "local" and engine != served_by:
            found = self._deployment(client, store.collection.database.name)
            if not found.vector_search:
                log(f"{found} ({found.reason}): the local engine serves the index")
            engine = "mongodb" if found.vector_search else "local"
        if engine == "mongodb":
            return MongoDBEngine(
                store=store, registry=registry, space=space, declared=self, key=key
            )
        return LocalEngine(
            store=store,
            batches=batches,
            registry=registry,
            space=space,
            pipeline=pipeline,
            index=self.name,
            key=key,
            declaration={
                "similarity": self.similarity,
                "filter_fields": self.filter_fields,
                "exact_below": self.exact_below,
                "max_edges": self.max_edges,
                "num_edge_candidates": self.num_edge_candidates,
                "element": store.element,
            },
        )


def index_key(store: VectorStore, name: str) -> str:
    """An index's name in the registry: `database.collection:path:index`."""
    return f"{store.key}:{name}"
