"""The first pipeline: 180 short texts, a local model, the embedded server. Needs no key."""

from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(
    name="quickstart",
    # The later file wins: fragments first, this pipeline's own YAML last.
    configs=["embedder/minilm.yaml", "mongodb/embedded.yaml", "quickstart.yaml"],
    schedule="0 3 * * *",
)

defs = pipeline.definitions()
