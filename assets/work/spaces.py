"""The space that a pipeline's vectors are in, as its store knows it."""

from pymongo import MongoClient

from resources.core.space import EmbeddingSpace
from resources.embedders.resource import EmbedderResource
from resources.mongodb.resource import MongoDBResource
from resources.registry.registry import Registry
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource


def pipeline_space(
    client: MongoClient,
    *,
    source: SourceResource,
    embedder: EmbedderResource,
    mongodb: MongoDBResource,
    vector_store: VectorStoreResource,
) -> EmbeddingSpace:
    """The embedder's space; the server is asked only where that names the provider's address."""
    space = embedder.space()
    if not space.endpoint:
        return space
    return Registry(client, mongodb.registry).stores.settled_space(space, vector_store.key(source))
