"""OpenAI, and every server that speaks its embeddings API, through the openai SDK."""

import importlib.metadata
import os
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import dagster as dg
from pydantic import Field

from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace, endpoint
from resources.embedders.base import InputType
from resources.embedders.batch.jobs import BatchAPI, Jobs
from resources.embedders.batched import BatchedEmbedder, BatchedProvider
from resources.embedders.facts import Facts
from resources.embedders.failures import lower_case, of_openai_sdk
from resources.embedders.journal import Journal
from resources.embedders.replies import Reply, read_answer
from resources.embedders.settings import OPENAI_KEY
from resources.models import catalogue

HOME = "https://api.openai.com/v1"

_ENCODINGS: tuple[Literal["base64", "float"], ...] = ("base64", "float")
"""The first is a quarter of the size; some servers refuse it."""


class OpenAIProvider(BatchedProvider):
    """OpenAI, or any server that speaks its protocol (`base_url`)."""

    batch_price_factor: ClassVar[float] = 0.5

    kind: Literal["openai"] = "openai"
    model: str = Field(
        default="text-embedding-3-small",
        min_length=1,
        description="By the name that the server knows it by; see `embeddings models`.",
    )
    api_key: str = Field(default=dg.EnvVar(OPENAI_KEY), description="Always from the environment.")
    dimensions: int | None = Field(
        default=None, ge=1, description="Default: the model's own, see `embeddings models`."
    )
    normalized: bool = Field(default=True, description="The server returns unit length.")
    document_prompt: str = Field(
        default="", description="Put before every document (models of compatible servers)."
    )
    query_prompt: str = Field(default="", description="Put before every query.")
    mode: Literal["realtime", "batch"] = Field(
        default="realtime",
        description="batch: documents at half price, within 24 hours; queries are never batched.",
    )

    def space(self) -> EmbeddingSpace:
        """The space: another server's model of the same name is another one, unless told.

        Raises:
            ConfigurationError: The width is not known, or the model does not offer it.
        """
        entry = self.entry()
        width = self.dimensions or (entry.dimensions[0] if entry else None)
        if width is None:
            raise ConfigurationError(
                f"the width of model {self.model} is not known here: say it with `dimensions`"
            )
        if entry and width not in entry.dimensions:
            most = entry.dimensions[0]
            if not entry.shrinkable or width > most:
                offer = f"{most} or fewer" if entry.shrinkable else f"{most}"
                raise ConfigurationError(
                    f"{self.model} has {offer} dimensions: `dimensions: {width}` cannot be had"
                )
        return EmbeddingSpace(
            provider=self.kind,
            model=self.space_name or catalogue.family(self.kind, self.model),
            revision="",
            dimensions=width,
            document_prompt=self.document_prompt,
            normalized=self.normalized,
            options=self._options(),
        )

    def entry(self) -> catalogue.ModelEntry | None:
        """What is known of the model, also if a gateway calls it by another name."""
        known = catalogue.find(self.kind, self.model)
        return known or (catalogue.find(self.kind, self.space_name) if self.space_name else None)

    def _options(self) -> tuple[tuple[str, Any], ...]:
        # The SDK goes there where nothing is configured.
        url = self.base_url or os.environ.get("OPENAI_BASE_URL")
        if self.space_name is not None or not url:
            return ()
        server = endpoint(url)
        return () if server == HOME else (("endpoint", server),)

    def facts(self) -> Facts:
        space = self.space()
        return Facts.of(
            space,
            self.model,
            {"mode": self.mode},
            price_factor=self.price_factor,
            limits=self.limits(space, self.model),
        )

    def request_options(self) -> dict[str, Any]:
        """Of every request, besides model and texts."""
        entry, width = self.entry(), self.space().dimensions
        full = entry.dimensions[0] if entry else self.dimensions
        # Only models that can shrink know the parameter; others refuse it.
        return {"dimensions": width} if width != full else {}

    def confirm(self) -> str:
        # Here, because it knows this module.
        from resources.embedders.openai_models import confirm

        return confirm(self)

    def batch_api(self) -> BatchAPI:
        # Here, because it knows this module.
        from resources.embedders.batch.openai import OpenAIBatchAPI

        return OpenAIBatchAPI(self)

    def open(
        self,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> "OpenAIEmbedder":
        return OpenAIEmbedder(self, jobs, log, journal)


class OpenAIEmbedder(BatchedEmbedder):
    manners = len(_ENCODINGS)

    def __init__(
        self,
        provider: OpenAIProvider,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
        journal: Journal | None = None,
    ) -> None:
        super().__init__(provider, jobs, log, journal)
        self._provider = provider
        self._client: Any = None
        self._options = provider.request_options()

    async def request(self, texts: list[str], input_type: InputType) -> Reply:
        import openai

        provider = self._provider
        prompt = provider.query_prompt if input_type == "query" else provider.document_prompt
        try:
            response = await self._connection().embeddings.with_raw_response.create(
                input=[prompt + text for text in texts] if prompt else texts,
                model=provider.model,
                encoding_format=_ENCODINGS[self._sender.manner],
                **self._options,
            )
            # Not parsed by the SDK, which makes an object of every row.
            answer = response.http_response
        except openai.APIStatusError as error:
            answer = error.response
        except openai.APIError as error:
            raise of_openai_sdk(error, provider.api_key, OPENAI_KEY) from error
        return read_answer(
            answer.status_code,
            lower_case(answer.headers),
            answer.content,
            variable=OPENAI_KEY,
            key=provider.api_key,
            texts=texts,
        )

    def _connection(self) -> Any:
        if self._client is None:
            import openai

            # Retries are ours: they follow one pace for all requests.
            self._client = openai.AsyncOpenAI(
                api_key=self._provider.api_key,
                base_url=self._provider.base_url,
                max_retries=0,
                timeout=self._provider.timeout_seconds,
            )
        return self._client

    async def disconnect(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def versions(self) -> dict[str, str]:
        return {"openai": importlib.metadata.version("openai")}
