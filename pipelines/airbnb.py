"""MongoDB's tutorial, the existing-data path: vectors written into the documents themselves.

Needs MONGODB_URI (a deployment with the sample data set sample_airbnb) and VOYAGE_API_KEY.
"""

from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(
    name="airbnb",
    # The later file wins: fragments first, this pipeline's own YAML last.
    configs=["embedder/voyage.yaml", "mongodb/server.yaml", "airbnb.yaml"],
    schedule="0 4 * * *",
)

defs = pipeline.definitions()
