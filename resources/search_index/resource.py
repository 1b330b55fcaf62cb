"""The resource `search_index`: how vectors are indexed and searched, and by which engine."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field
from pymongo import MongoClient

from resources.batch_store import BatchStore
from resources.config import StrictResource
from resources.embedders.space import EmbeddingSpace
from resources.errors import ConfigurationError
from resources.registry import Registry
from resources.search_index.engine import SearchEngine
from resources.search_index.local_builder import EXACT_BELOW
from resources.search_index.local_engine import LocalEngine
from resources.vector_formats import Dtype, Similarity, check_format
from resources.vector_store import VectorStore


class SearchIndexResource(StrictResource):
    """The index over the vectors: how it compares them, and what searches may filter by."""

    engine: Literal["auto", "local"] = Field(
        default="auto",
        description="local: an index file built from the stored vectors. auto: whatever the "
        "deployment offers.",
    )
    name: str = Field(default="vector_index", min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    similarity: Similarity = Field(
        default="dotProduct", description="dotProduct needs vectors of unit length."
    )
    filter_fields: list[str] = Field(
        default=[], description="Fields that searches may filter by; dots are allowed."
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

    def check(self, space: EmbeddingSpace, dtype: Dtype) -> None:
        """Refuse a declaration that cannot serve vectors of this space, stored like this.

        Raises:
            ConfigurationError: dotProduct over vectors that are not of unit length; a similarity
                or a quantization that does not go with the dtype; settings that exclude each
                other.
        """
        if self.similarity == "dotProduct" and not space.normalized:
            raise ConfigurationError(
                f"search_index has `similarity: dotProduct`, which needs unit length, but the "
                f"space {space.id} is not normalized: choose cosine, or normalize the embeddings"
            )
        check_format(dtype, self.similarity, "none", space.dimensions)

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
