"""Voyage AI through its own SDK."""

import importlib.metadata
from typing import Any, Literal

import dagster as dg
import numpy as np
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
from resources.vector_store.formats import Element

_DEFAULT_DIMENSIONS = 1024

# Element type, NumPy's name of what comes, and what brings it to the element type: uint8 is int8
# plus 128, and binary is ubinary minus 128 (Voyage AI's documentation of output data types).
_OUTPUT: dict[str, tuple[Element, str, int]] = {
    "float": ("float32", "<f4", 0),
    "int8": ("int8", "i1", 0),
    "uint8": ("int8", "u1", -128),
    "binary": ("packed_bit", "i1", 128),
    "ubinary": ("packed_bit", "u1", 0),
}


class VoyageProvider(RemoteProvider):
    kind: Literal["voyage"] = "voyage"
    model: str = Field(default="voyage-4-large", min_length=1)
    api_key: str = Field(
        default=dg.EnvVar("VOYAGE_API_KEY"), description="Always from the environment."
    )
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

    def space(self) -> EmbeddingSpace:
        """The space; models of one family share it.

        `int8` and `uint8` are one space, as are `binary` and `ubinary`: they differ by an offset,
        which is taken off.

        Raises:
            ConfigurationError: The model has no such width, or no whole bytes of bits.
        """
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
            model=catalogue.family(self.kind, self.model),
            revision="",
            dimensions=dimensions,
            document_prompt="input_type=document",
            normalized=True,
            options=() if element == "float32" else (("element", element),),
        )

    def open(self) -> "VoyageEmbedder":
        return VoyageEmbedder(self)


class VoyageEmbedder(RemoteEmbedder):
    def __init__(self, provider: VoyageProvider) -> None:
        super().__init__(provider, provider.space(), provider.model)
        self._provider = provider
        self._session: Any = None
        self._parameters: dict[str, Any] = {}

    async def request(self, texts: list[str], input_type: InputType) -> Reply:
        import voyageai
        import voyageai.error
        from voyageai.api_resources.embedding import Embedding

        await self._connect()
        # Else the SDK opens a connection for every request.
        voyageai.aiosession.set(self._session)
        provider = self._provider
        _, kind, offset = _OUTPUT[provider.output_dtype]
        try:
            # What `AsyncClient.embed` calls, but with the position of each row in the reply.
            answer: Any = await Embedding.acreate(
                input=texts,
                model=provider.model,
                input_type=input_type,
                truncation=provider.truncate,
                output_dimension=self.space.dimensions,
                output_dtype=provider.output_dtype,
                encoding_format="base64",  # decoded here: the SDK makes lists of it
                **self._parameters,
            )
            rows = answer.data
            return Reply(
                rows=[_shifted(decoded(row["embedding"], kind), offset) for row in rows],
                tokens=int(answer.usage["total_tokens"]),
                order=[row["index"] for row in rows],
                headers={},
            )
        except voyageai.error.VoyageError as error:
            raise _explained(error) from error
        except Exception as error:
            raise unreadable(error) from error

    async def _connect(self) -> None:
        if self._session is None:
            import aiohttp
            from voyageai.client_async import AsyncClient

            provider = self._provider
            client = AsyncClient(
                api_key=provider.api_key,
                timeout=provider.timeout_seconds,
                base_url=provider.base_url,
            )
            # Key, endpoint (which depends on the kind of key) and timeout, as the SDK sees them.
            self._parameters = client._params  # noqa: SLF001
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def disconnect(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def versions(self) -> dict[str, str]:
        return {"voyageai": importlib.metadata.version("voyageai")}

    def settings(self) -> dict[str, Any]:
        return {"truncate": self._provider.truncate}


def _shifted(row: np.ndarray, offset: int) -> np.ndarray:
    return row.astype(np.int16) + offset if offset else row


def _explained(error: Any) -> RequestFailed:
    from voyageai import error as sdk

    status, headers = error.http_status, lower_case(error.headers)
    body = error.json_body if isinstance(error.json_body, dict) else {}
    # The SDK's own words hold headers and bodies, save for these kinds.
    wordy = not isinstance(
        error, sdk.ServerError | sdk.ServiceUnavailableError | sdk.Timeout | sdk.APIConnectionError
    )
    said = body.get("detail") or ("the reply cannot be read" if wordy else error.user_message)
    message = str(said)[:300].rstrip(".") + (f" (HTTP {status})" if status else "")
    if status == 401 or isinstance(error, sdk.AuthenticationError):
        return RequestFailed(
            "fatal", f"it refuses the API key ({status}): set VOYAGE_API_KEY to a valid one"
        )
    if status == 403:
        return RequestFailed(
            "fatal", f"{message}: VOYAGE_API_KEY is not of an account that may use the model"
        )
    if status == 429:
        return RequestFailed("throttled", message, retry_after(headers))
    if status in (400, 413, 422):
        return RequestFailed("refused", message)
    if status is None or status == 408 or status >= 500 or status < 400:
        return RequestFailed("transient", message, retry_after(headers))
    return RequestFailed("fatal", message)
