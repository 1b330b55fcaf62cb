"""Voyage AI's Batch API: embeddings for a third less, within 12 hours; a preview of theirs.

The voyageai SDK has no class for it. It follows OpenAI's Files and Batch API, and their guide
speaks it through the openai SDK, with two differences: model and options are those of the job, not
of each line, and moments are ISO dates.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from resources.embedders.batch.files import FilesBatchAPI
from resources.embedders.replies import decoded
from resources.embedders.settings import VOYAGE_KEY

if TYPE_CHECKING:  # which opens this one
    from resources.embedders.voyage import VoyageProvider


class VoyageBatchAPI(FilesBatchAPI):
    name, variable, window = "Voyage AI", VOYAGE_KEY, "12h"
    # A job that ran out of time ends as completed; an earlier version had a word of its own for it.
    ended = FilesBatchAPI.ended | {"canceled", "partially_completed"}
    # Voyage AI allows 100,000 texts; results come as a file of up to 45 kB per text, read at once.
    max_texts = 4_000
    max_bytes = 200_000_000

    def __init__(self, provider: "VoyageProvider") -> None:
        from voyageai.util import get_default_base_url

        super().__init__(
            key=provider.api_key,
            # As the SDK does where nothing is configured: it depends on the kind of key.
            base_url=provider.base_url or get_default_base_url(provider.api_key),
            attempts=provider.attempts,
            timeout=provider.timeout_seconds,
        )
        self._options = provider.request_options()
        self._kind, self._offset = provider.output

    def request(self, text: str) -> dict[str, Any]:
        return {"body": {"input": [text]}}

    def parameters(self) -> dict[str, Any]:
        return {"request_params": {**self._options, "input_type": "document"}}

    def vector(self, embedding: Any) -> np.ndarray:
        row = decoded(embedding, self._kind)
        return row.astype(np.int16) + self._offset if self._offset else row
