"""OpenAI, and every server that speaks its embeddings API, through the openai SDK."""

import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import dagster as dg
from pydantic import Field

from resources.embedders import catalogue
from resources.embedders.base import Embeddings, InputType
from resources.embedders.batch_jobs import Jobs
from resources.embedders.batch_lane import BatchLane
from resources.embedders.remote import (
    RemoteEmbedder,
    RemoteProvider,
    Reply,
    RequestFailed,
    decoded,
    lower_case,
    retry_after,
    unreadable,
)
from resources.embedders.space import EmbeddingSpace
from resources.errors import ConfigurationError

K = TypeVar("K")

REFUSALS = (400, 413, 422)
"""Statuses that say: not this text, ever."""


class OpenAIProvider(RemoteProvider):
    kind: Literal["openai"] = "openai"
    model: str = Field(default="text-embedding-3-small", min_length=1)
    api_key: str = Field(
        default=dg.EnvVar("OPENAI_API_KEY"), description="Always from the environment."
    )
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
    poll_seconds: float = Field(default=60, gt=0, description="How often batch jobs are asked for.")
    wait_seconds: float = Field(
        default=86_400,
        ge=0,
        description="How long a run waits for batch jobs; any later run collects what is left.",
    )

    def space(self) -> EmbeddingSpace:
        """The space.

        Raises:
            ConfigurationError: The width is not known, or the model does not offer it.
        """
        entry = catalogue.find(self.kind, self.model)
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
            model=self.model,
            revision="",
            dimensions=width,
            document_prompt=self.document_prompt,
            normalized=self.normalized,
        )

    def open(
        self, jobs: Jobs | None = None, log: Callable[[str], None] | None = None
    ) -> "OpenAIEmbedder":
        """Connect.

        Args:
            jobs: Where batch jobs are written down; `mode: batch` embeds no documents without.
            log: Where their progress is told.
        """
        return OpenAIEmbedder(self, jobs, log)


class OpenAIEmbedder(RemoteEmbedder):
    def __init__(
        self,
        provider: OpenAIProvider,
        jobs: Jobs | None = None,
        log: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(provider, provider.space(), provider.model)
        self._provider = provider
        self._client: Any = None
        entry = catalogue.find(provider.kind, provider.model)
        full = entry.dimensions[0] if entry else provider.dimensions
        # Only models that can shrink know the parameter; others refuse it.
        shrunk = self.space.dimensions != full
        self._options = {"dimensions": self.space.dimensions} if shrunk else {}
        self._lane: BatchLane | None = None
        if provider.mode == "batch":
            # Here, because it knows this module.
            from resources.embedders.openai_batch import PRICE_FACTOR, OpenAIBatchAPI

            self.price_factor = PRICE_FACTOR
            if jobs is not None:
                self._lane = BatchLane(
                    OpenAIBatchAPI(provider, self._options),
                    jobs,
                    self.space,
                    poll_seconds=provider.poll_seconds,
                    wait_seconds=provider.wait_seconds,
                    attempts=provider.attempts,
                    max_failures=provider.max_failures,
                    # Raises if even this is refused.
                    check=lambda: self.embed(["a"], input_type="document"),
                    log=log or (lambda _: None),
                )

    def embed_batches(
        self, batches: Iterable[tuple[K, Sequence[str]]]
    ) -> Iterator[tuple[K, Embeddings]]:
        if self._provider.mode == "realtime":
            return super().embed_batches(batches)
        if self._lane is None:
            raise ConfigurationError(
                "`mode: batch` embeds documents only where its jobs are written down: open the "
                "embedder with `jobs`, or choose `mode: realtime`"
            )
        return self._lane.embed_batches(batches)

    def written(self, key: Any) -> None:
        if self._lane is not None:
            self._lane.written(key)

    def close(self) -> None:
        if self._lane is not None:
            self._lane.close()
        super().close()

    async def request(self, texts: list[str], input_type: InputType) -> Reply:
        provider = self._provider
        prompt = provider.query_prompt if input_type == "query" else provider.document_prompt
        try:
            response = await self._connection().embeddings.with_raw_response.create(
                input=[prompt + text for text in texts] if prompt else texts,
                model=provider.model,
                encoding_format="base64",
                **self._options,
            )
            # Not parsed by the SDK, which makes an object of every row.
            answer = response.http_response.json()
            return Reply(
                rows=[decoded(row["embedding"]) for row in answer["data"]],
                tokens=(answer.get("usage") or {}).get("prompt_tokens") or 0,
                order=[row["index"] for row in answer["data"]],
                headers=lower_case(response.headers),
            )
        except Exception as error:
            raise as_failure(error) from error

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

    def settings(self) -> dict[str, Any]:
        return {"mode": self._provider.mode}


def as_failure(error: Exception) -> RequestFailed:
    """What an error of the SDK means for the request."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return _explained(error)
    if isinstance(error, openai.APIConnectionError):  # time-outs too
        return RequestFailed("transient", str(error).rstrip("."))
    return unreadable(error)


def _explained(error: Any) -> RequestFailed:
    status, headers = error.status_code, lower_case(error.response.headers)
    body = error.body if isinstance(error.body, dict) else {}
    said = str(body.get("message") or "the reply cannot be read")[:300].rstrip(".")
    message = f"{said} (HTTP {status})"
    if status == 401:
        return RequestFailed(
            "fatal", f"it refuses the API key ({status}): set OPENAI_API_KEY to a valid one"
        )
    if status == 403:
        return RequestFailed(
            "fatal", f"{message}: OPENAI_API_KEY is not of an account that may use the model"
        )
    if status == 429:
        if "insufficient_quota" in (body.get("code"), body.get("type")):
            return RequestFailed("fatal", f"the account has no credit left: {message}")
        return RequestFailed("throttled", message, retry_after(headers))
    if status in REFUSALS:
        return RequestFailed("refused", message)
    if status in (408, 409) or status >= 500:
        return RequestFailed("transient", message, retry_after(headers))
    return RequestFailed("fatal", message)
