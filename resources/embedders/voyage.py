"""Voyage AI through its own SDK."""

import importlib.metadata
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import Field

from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Element
from resources.embedders.base import InputType
from resources.embedders.batch.jobs import BatchAPI, Jobs
from resources.embedders.batched import BatchedEmbedder, BatchedProvider
from resources.embedders.facts import Facts
from resources.embedders.journal import Journal
from resources.embedders.replies import Reply, read_answer
from resources.embedders.settings import CONFIRM_SECONDS, VOYAGE_KEY
from resources.embedders.voyage_connection import VoyageConnection
from resources.models import catalogue

_DEFAULT_DIMENSIONS = 1024

_LEAST_TOKENS = 4_000
"""That a model reads which the catalogue does not know: no model of theirs has read fewer."""
_AROUND = 64
"""Room for what is put around a text before it is read: the prompt for documents, and marks."""

# Element type, NumPy's name of what comes, and what brings it to the element type: uint8 is int8
# plus 128, and binary is ubinary minus 128 (Voyage AI's documentation of output data types).
_OUTPUT: dict[str, tuple[Element, str, int]] = {
    "float": ("float32", "<f4", 0),
    "int8": ("int8", "i1", 0),
    "uint8": ("int8", "u1", -128),
    "binary": ("packed_bit", "i1", 128),
    "ubinary": ("packed_bit", "u1", 0),
}


class VoyageProvider(BatchedProvider):
    """Voyage AI."""

    batch_price_factor: ClassVar[float] = 0.67

    kind: Literal["voyage"] = "voyage"
    model: str = Field(
        default="voyage-4-large", min_length=1, description="See `embeddings models`."
    )
    api_key: str = Field(default=dg.EnvVar(VOYAGE_KEY), description="Always from the environment.")
    dimensions: int | None = Field(
        default=None, ge=1, description="Width; default: the model's own, see `embeddings models`."
    )
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] = Field(
        default="float",
        description="What the provider returns. Floats can be stored in every dtype; the others "
        "are smaller from the start and stay what they are (stored as int8 or packed_bit).",
    )
    truncate: bool = Field(
        default=False,
        description="Let the provider cut a text that is too long; else it goes to quarantine.",
    )
    mode: Literal["realtime", "batch"] = Field(
        default="realtime",
        description="batch: documents for a third less, within 12 hours; queries are never "
        "batched (a preview of Voyage AI's).",
    )

    @property
    def truncates(self) -> bool:
        return self.truncate

    def space(self) -> EmbeddingSpace:
        """The space; models of one family share it.

        The endpoint is no part of it: api.voyageai.com and MongoDB's ai.mongodb.com, between which
        `base_url` and the kind of key choose, serve the same models.

        `int8` and `uint8` are one space, as are `binary` and `ubinary`: they differ by an offset,
        which is taken off.

        Raises:
            ConfigurationError: The model has no such width, no whole bytes of bits, or no vectors.
        """
        catalogue.check_task(self.kind, self.model, "embed")
        entry = catalogue.find(self.kind, self.model)
        offered = entry.dimensions if entry else []
        if self.dimensions and offered and self.dimensions not in offered:
            raise ConfigurationError(
                f"{self.model} offers {', '.join(map(str, sorted(offered)))} dimensions, not "
                f"{self.dimensions}"
            )
        dimensions = self.dimensions or (offered[0] if offered else _DEFAULT_DIMENSIONS)
        element, _, _ = _OUTPUT[self.output_dtype]
        if element == "packed_bit" and dimensions % 8:
            raise ConfigurationError(
                f"`output_dtype: {self.output_dtype}` packs eight dimensions into a byte: "
                f"`dimensions: {dimensions}` is no multiple of 8"
            )
        return EmbeddingSpace(
            provider=self.kind,
            model=self.space_name or catalogue.family(self.kind, self.model),
            revision="",
            dimensions=dimensions,
            document_prompt="input_type=document",
            normalized=True,
            options=() if element == "float32" else (("element", element),),
        )

    def facts(self) -> Facts:
        space = self.space()
        settings = {"truncate": self.truncate}
        # What was refused before there was another mode, was so in this one.
        return Facts.of(
            space,
            self.model,
            settings if self.mode == "realtime" else settings | {"mode": self.mode},
            price_factor=self.price_factor,
            limits=self.limits(space, self.model),
            truncates=self.truncate,
        )

    def request_options(self) -> dict[str, Any]:
        """Of every request, besides texts, their type and the encoding of the answer."""
        return {
            "model": self.model,
            "truncation": self.truncate,
            "output_dimension": self.space().dimensions,
            "output_dtype": self.output_dtype,
        }

    @property
    def output(self) -> tuple[str, int]:
        """NumPy's name of the numbers that come, and what brings them to the element type."""
        _, kind, offset = _OUTPUT[self.output_dtype]
        return kind, offset

    def confirm(self) -> str:
        """By embedding one letter: Voyage AI has no list of its models to ask."""
        entry = catalogue.find(self.kind, self.model)
        if entry and entry.local:
            return ""  # it runs here
        brief = {"attempts": 1, "max_failures": 1, "patience_seconds": CONFIRM_SECONDS}
        seconds = min(self.timeout_seconds, CONFIRM_SECONDS)
        asked = self.model_copy(update={**brief, "timeout_seconds": seconds})
        with closing(asked.open()) as embedder:
            answer = embedder.embed(["a"], input_type="query")
        tokens = answer.usage.tokens
        cost = None if tokens is None else self.facts().cost_usd(tokens)
        told = "" if cost is None else f", ${cost:.4f}" if cost >= 0.0001 else ", under $0.0001"
        billed = "tokens not said" if tokens is None else f"tokens: {tokens:,}{told}"
        return f"Voyage AI embeds with {self.model}; asking cost one text ({billed})"

    def batch_api(self) -> BatchAPI:
        # Here, because it knows this module.
        from resources.embedders.batch.voyage import VoyageBatchAPI

        return VoyageBatchAPI(self)

    def open(
        self,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> "VoyageEmbedder":
        return VoyageEmbedder(self, jobs, log, journal)


class VoyageEmbedder(BatchedEmbedder):
    def __init__(
        self,
        provider: VoyageProvider,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(provider, jobs, log, journal)
        self._provider = provider
        self._options = provider.request_options()
        self._connection = VoyageConnection(
            provider.api_key, provider.base_url, provider.timeout_seconds
        )

    async def request(self, texts: list[str], input_type: InputType) -> Reply:
        provider = self._provider
        kind, offset = provider.output
        answer = await self._connection.post(
            "/embeddings",
            {
                "input": texts,
                "input_type": input_type,
                "encoding_format": "base64",
                **self._options,
            },
        )
        return read_answer(
            answer.status,
            answer.headers,
            answer.body,
            kind=kind,
            offset=offset,
            variable=VOYAGE_KEY,
            key=provider.api_key,
            texts=texts,
        )

    def cut(self, texts: Sequence[str]) -> frozenset[int]:
        """With `truncate`, the texts that may have been cut: the reply does not say which were.

        A token is one byte at least, so that shorter texts have been read whole. Most of these have
        been too: without `truncate`, each of them is asked for once more to find out.
        """
        if not self._provider.truncate:
            return frozenset()
        entry = catalogue.find(self._provider.kind, self.model)
        reads = ((entry and entry.max_tokens) or _LEAST_TOKENS) - _AROUND
        return frozenset(at for at, text in enumerate(texts) if len(text.encode()) > reads)

    async def disconnect(self) -> None:
        await self._connection.close()

    def versions(self) -> dict[str, str]:
        return {"voyageai": importlib.metadata.version("voyageai")}
