"""The resource `search_index`: how vectors are indexed and searched, and by which engine."""

from typing import Any, Literal

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
from resources.vector_store import VectorStore


class SearchIndexResource(StrictResource):
    """The index over the vectors: how it compares them, and what searches may filter by."""

    engine: Literal["auto", "local"] = Field(
        default="auto",
        description="local: an index file built from the stored vectors. auto: whatever the "
        "deployment offers.",
    )
    name: str = Field(default="vector_index", min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    similarity: Literal["cosine", "dotProduct", "euclidean"] = Field(
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

    def check(self, space: EmbeddingSpace) -> None:
        """Refuse a declaration that cannot serve vectors of this space.

        Raises:
            ConfigurationError: dotProduct over vectors that are not of unit length.
        """
        if self.similarity == "dotProduct" and not space.normalized:
            raise ConfigurationError(
                f"search_index has `similarity: dotProduct`, which needs unit length, but the "
                f"space {space.id} is not normalized: choose cosine, or normalize the embeddings"
            )

    def declaration(self) -> dict[str, Any]:
        names = ("similarity", "filter_fields", "exact_below", "max_edges", "num_edge_candidates")
        return {name: getattr(self, name) for name in names}

    def open(
        self,
        client: MongoClient,
        *,
        store: VectorStore,
        batches: BatchStore,
        registry: Registry,
        space: EmbeddingSpace,
        pipeline: str,
    ) -> SearchEngine:
        return LocalEngine(
            store=store,
            batches=batches,
            registry=registry,
            space=space,
            pipeline=pipeline,
            index=self.name,
            key=index_key(store, self.name),
            declaration=self.declaration(),
        )


def index_key(store: VectorStore, name: str) -> str:
    """An index's name in the registry: `database.collection:path:index`."""
    return f"{store.key}:{name}"
