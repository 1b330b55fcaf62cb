"""OpenAI's Batch API: embeddings at half price, within 24 hours."""

from typing import TYPE_CHECKING, Any

import numpy as np

from resources.embedders.batch.files import FilesBatchAPI
from resources.embedders.replies import decoded
from resources.embedders.settings import OPENAI_KEY

if TYPE_CHECKING:  # which opens this one
    from resources.embedders.openai import OpenAIProvider


class OpenAIBatchAPI(FilesBatchAPI):
    name, variable, window = "OpenAI", OPENAI_KEY, "24h"
    # OpenAI allows 50,000 texts; results come as one file of up to 17 kB per text, read at once.
    max_texts = 10_000
    max_bytes = 200_000_000

    def __init__(self, provider: "OpenAIProvider") -> None:
        super().__init__(
            key=provider.api_key,
            base_url=provider.base_url,
            attempts=provider.attempts,
            timeout=provider.timeout_seconds,
        )
        self._prompt = provider.document_prompt
        options = provider.request_options()
        self._body = {"model": provider.model, "encoding_format": "base64", **options}

    def request(self, text: str) -> dict[str, Any]:
        body = {**self._body, "input": self._prompt + text}
        return {"method": "POST", "url": "/v1/embeddings", "body": body}

    def vector(self, embedding: Any) -> np.ndarray:
        return decoded(embedding)
