"""OpenAI, and every server that speaks its embeddings API, through the openai SDK."""

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
from resources.errors import ConfigurationError, ProviderError

WIDTHS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}


class OpenAIProvider(StrictConfig):
    kind: Literal["openai"] = "openai"
    model: str = Field(default="text-embedding-3-small", min_length=1)
    api_key: str = Field(
        default=dg.EnvVar("OPENAI_API_KEY"), description="Always from the environment."
    )
    base_url: str | None = Field(
        default=None, description="An OpenAI-compatible server: vLLM, Ollama, infinity, …"
    )
    dimensions: int | None = Field(
        default=None, ge=1, description="Fewer than the model's own (text-embedding-3 only)."
    )
    normalized: bool = Field(default=True, description="The server returns unit length.")
    max_texts: int = Field(default=2048, ge=1, le=2048, description="Texts per request.")
    max_tokens: int = Field(default=250_000, ge=1, description="Estimated tokens per request.")
    attempts: int = Field(default=6, ge=1, description="Tries per request, with backoff.")
    timeout_seconds: float = Field(default=120, gt=0)

    def space(self) -> EmbeddingSpace:
        width = self.dimensions or WIDTHS.get(self.model)
        if width is None:
            raise ConfigurationError(
                f"the width of model {self.model} is not known here: say it with `dimensions`"
            )
        return EmbeddingSpace(
            provider=self.kind,
            model=self.model,
            revision="",
            dimensions=width,
            document_prompt="",
            normalized=self.normalized,
        )

    def open(self) -> "OpenAIEmbedder":
        return OpenAIEmbedder(self)


class OpenAIEmbedder(Embedder):
    def __init__(self, provider: OpenAIProvider) -> None:
        self._provider = provider
        self._client: Any = None
        self.space = provider.space()
        self.model = provider.model

    def embed(self, texts: Sequence[str], *, input_type: InputType) -> Embeddings:
        import openai

        provider, parts, tokens, requests = self._provider, [], 0, 0
        shrunk = provider.dimensions not in (None, WIDTHS.get(provider.model))
        options = {"dimensions": provider.dimensions} if shrunk else {}
        limits = {"max_texts": provider.max_texts, "max_tokens": provider.max_tokens}
        for positions in pack(texts, **limits):
            try:
                reply = self._connection().embeddings.create(
                    input=[texts[position] for position in positions],
                    model=provider.model,
                    **options,
                )
            except openai.AuthenticationError as error:
                raise ProviderError(
                    "OpenAI refuses the API key: set OPENAI_API_KEY to a valid one"
                ) from error
            except openai.OpenAIError as error:
                raise ProviderError(f"OpenAI ({provider.model}): {error}") from error
            rows = sorted(reply.data, key=lambda item: item.index)
            vectors = np.array([item.embedding for item in rows], dtype=np.float32)
            parts.append(check_reply(vectors, len(positions), self.space))
            tokens += reply.usage.prompt_tokens
            requests += 1
        return Embeddings(np.concatenate(parts), usage=Usage(requests=requests, tokens=tokens))

    def versions(self) -> dict[str, str]:
        return {"openai": importlib.metadata.version("openai")}

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _connection(self) -> Any:
        if self._client is None:
            import openai

            self._client = openai.OpenAI(
                api_key=self._provider.api_key,
                base_url=self._provider.base_url,
                max_retries=self._provider.attempts - 1,
                timeout=self._provider.timeout_seconds,
            )
        return self._client
