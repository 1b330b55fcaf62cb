"""OpenAI, and every server that speaks its embeddings API, through the openai SDK."""

import importlib.metadata
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from resources.embedders import catalogue
from resources.embedders.base import InputType
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

    def open(self) -> "OpenAIEmbedder":
        return OpenAIEmbedder(self)


class OpenAIEmbedder(RemoteEmbedder):
    def __init__(self, provider: OpenAIProvider) -> None:
        super().__init__(provider, provider.space(), provider.model)
        self._provider = provider
        self._client: Any = None
        entry = catalogue.find(provider.kind, provider.model)
        full = entry.dimensions[0] if entry else provider.dimensions
        # Only models that can shrink know the parameter; others refuse it.
        shrunk = self.space.dimensions != full
        self._options = {"dimensions": self.space.dimensions} if shrunk else {}

    async def request(self, texts: list[str], input_type: InputType) -> Reply:
        import openai

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
        except openai.APIStatusError as error:
            raise _explained(error) from error
        except openai.APIConnectionError as error:  # time-outs too
            raise RequestFailed("transient", str(error).rstrip(".")) from error
        except Exception as error:
            raise unreadable(error) from error

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
    if status in (400, 413, 422):
        return RequestFailed("refused", message)
    if status in (408, 409) or status >= 500:
        return RequestFailed("transient", message, retry_after(headers))
    return RequestFailed("fatal", message)
