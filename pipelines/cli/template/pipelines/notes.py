"""Twelve short texts, a local model, the embedded server. Needs no key."""

from pipelines import EmbeddingPipeline

pipeline = EmbeddingPipeline(
    name="notes",
    configs=["notes.yaml", "embedder/minilm.yaml", "mongodb/embedded.yaml"],
    schedule="0 3 * * *",
)

defs = pipeline.definitions()
