"""The first pipeline: 180 short texts, a local model, the embedded server. Needs no key."""

from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(
    name="quickstart",
    configs=["quickstart.yaml", "embedder/minilm.yaml", "mongodb/embedded.yaml"],
    schedule="0 3 * * *",
)

defs = pipeline.definitions()
