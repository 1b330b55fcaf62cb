"""MongoDB's tutorial, the existing-data path: vectors written into the documents themselves.

Needs MONGODB_URI (a deployment with the sample data set sample_airbnb) and VOYAGE_API_KEY.
"""

from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(
    name="airbnb",
    configs=["airbnb.yaml", "embedder/voyage.yaml", "mongodb/server.yaml"],
    schedule="0 4 * * *",
)

defs = pipeline.definitions()
