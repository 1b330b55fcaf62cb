"""Voyage AI through its own SDK."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any, Literal

import dagster as dg
import numpy as np
from pydantic import Field

from resources.config import StrictConfig
from resources.embedders.base import Embedder, Embeddings, InputType, Usage, check_reply
from resources.embedders.packing import pack
from resources.embedders.space import EmbeddingSpace
from resources.errors import ProviderError

# Voyage's documentation: the voyage-4 models share one embedding space.
SHARED_SPACES = {
    "voyage-4-large": "voyage-4",
    "voyage-4": "voyage-4",
    "voyage-4-lite": "voyage-4",
    "voyage-4-nano": "voyage-4",
}


class VoyageProvider(StrictConfig):
    kind: Literal["voyage"] = "voyage"
    model: str = Field(default="voyage-4-large", min_length=1)
    api_key: str = Field(
        default=dg.EnvVar("VOYAGE_API_KEY"), description="Always from the environment."
    )
    base_url: str | None = Field(default=None, description="Another endpoint of the same API.")
    dimensions: int = Field(default=1024, ge=1, description="Width; voyage-4: 256 to 2048.")
    max_texts: int = Field(default=1000, ge=1, le=1000, description="Texts per request.")
    max_tokens: int = Field(default=100_000, ge=1, description="Estimated tokens per request.")
    attempts: int = Field(default=6, ge=1, description="Tries per request, with backoff.")
    timeout_seconds: float = Field(default=120, gt=0)

    def space(self) -> EmbeddingSpace:
        return EmbeddingSpace(
            provider=self.kind,
            model=SHARED_SPACES.get(self.model, self.model),
            revision="",
            dimensions=self.dimensions,
            document_prompt="input_type=document",
            normalized=True,
        )

    def open(self) -> "VoyageEmbedder":
        return VoyageEmbedder(self)


class VoyageEmbedder(Embedder):
    def __init__(self, provider: VoyageProvider) -> None:
        self._provider = provider
        self._client: Any = None
        self.space = provider.space()
        self.model = provider.model

    def embed(self, texts: Sequence[str], *, input_type: InputType) -> Embeddings:
        import voyageai.error

        provider, parts, tokens, requests = self._provider, [], 0, 0
        limits = {"max_texts": provider.max_texts, "max_tokens": provider.max_tokens}
        for positions in pack(texts, **limits):
            try:
                reply = self._connection().embed(
                    [texts[position] for position in positions],
                    model=provider.model,
                    input_type=input_type,
                    truncation=False,
                    output_dimension=provider.dimensions,
                )
            except voyageai.error.AuthenticationError as error:
                raise ProviderError(
                    "Voyage AI refuses the API key: set VOYAGE_API_KEY to a valid one"
                ) from error
            except voyageai.error.VoyageError as error:
                raise ProviderError(f"Voyage AI ({provider.model}): {error}") from error
            vectors = np.asarray(reply.embeddings, dtype=np.float32)
            parts.append(check_reply(vectors, len(positions), self.space))
            tokens += reply.total_tokens
            requests += 1
        return Embeddings(np.concatenate(parts), usage=Usage(requests=requests, tokens=tokens))

    def versions(self) -> dict[str, str]:
        return {"voyageai": importlib.metadata.version("voyageai")}

    def _connection(self) -> Any:
        if self._client is None:
            from voyageai.client import Client

            # The SDK's max_retries counts tries, not retries.
            self._client = Client(
                api_key=self._provider.api_key,
                max_retries=self._provider.attempts,
                timeout=self._provider.timeout_seconds,
                base_url=self._provider.base_url,
            )
        return self._client
