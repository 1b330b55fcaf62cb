"""OpenAI's embeddings, files and batches; limits and messages as documented and quoted by users."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from aiohttp import web

from tests.providers.batches import Batches
from tests.providers.behaviour import Behaviour, Fault, Request
from tests.providers.server import ProviderServer, Refused, Reply, embedding

MAX_TEXTS = 2048
MAX_TEXT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000
WIDTHS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
DEFAULT_LIMITS = {"requests": 3000, "tokens": 1_000_000}
"""Tier 1, shown in the headers while no quota is set."""

_WORDS = {
    # status -> (message, type, code)
    401: ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    403: ("Country, region, or territory not supported", "request_forbidden", "unsupported_region"),
    429: ("Rate limit reached.", "requests", "rate_limit_exceeded"),
    500: ("The server had an error while processing your request.", "server_error", None),
    503: ("The engine is currently overloaded, please try again later.", "server_error", None),
}
_NO_CREDIT = "You exceeded your current quota, please check your plan and billing details."


class OpenAIServer(ProviderServer):
    """Args:
    models: Model -> width, where a compatible server (vLLM, Ollama) is meant.
    """

    def __init__(
        self, behaviour: Behaviour | None = None, models: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(behaviour)
        self._models = dict(models or WIDTHS)
        self.model_pages = "each"
        """`each` model has one, as OpenAI has it; other servers have the `list` only, or `none`."""
        self.batches = Batches(self)

    def _embedded(self) -> list[Request]:
        return [*self.requests, *self.batches.lines]

    def vector(
        self, text: str, *, model: str = "text-embedding-3-small", width: int | None = None
    ) -> np.ndarray:
        """What an embedding of this text is, for comparison."""
        return embedding(model, text, width or self._models[model])

    def check(self, request: Request) -> None:
        own, options, texts = self._models.get(request.model), request.options, request.texts
        if own is None:
            raise Refused(
                404,
                f"The model `{request.model}` does not exist or you do not have access to it.",
                code="model_not_found",
            )
        width = options.get("dimensions")
        if width is not None and request.model == "text-embedding-ada-002":
            raise Refused(400, "This model does not support specifying dimensions.")
        if width is not None and not 1 <= width <= own:
            raise Refused(400, f"Invalid value for 'dimensions' = {width}. Must be at most {own}.")
        if options.get("encoding_format", "float") not in ("float", "base64"):
            raise Refused(400, "Invalid 'encoding_format'.", param="encoding_format")
        if len(texts) > MAX_TEXTS:
            raise Refused(
                400,
                "Invalid 'input': array too long. Expected an array with maximum length "
                f"{MAX_TEXTS}, but got an array with length {len(texts)} instead.",
                param="input",
                code="array_above_max_length",
            )
        if not texts:
            raise Refused(400, "Invalid 'input': empty array.", param="input")
        counts = self.text_tokens(texts)
        for place, (text, count) in enumerate(zip(texts, counts, strict=True)):
            if not text:
                raise Refused(
                    400,
                    f"Invalid 'input[{place}]': input cannot be an empty string.",
                    param="input",
                )
            if count > MAX_TEXT_TOKENS:
                raise Refused(
                    400,
                    f"Invalid 'input[{place}]': maximum input length is {MAX_TEXT_TOKENS} tokens.",
                    param="input",
                )
        if sum(counts) > MAX_REQUEST_TOKENS:
            raise Refused(
                400,
                f"Requested {sum(counts)} tokens, max {MAX_REQUEST_TOKENS} tokens per request",
                kind="max_tokens_per_request",
                code="max_tokens_per_request",
            )

    def rows(self, request: Request) -> list[np.ndarray]:
        width = request.options.get("dimensions")
        return [self.vector(text, model=request.model, width=width) for text in request.texts]

    def body(self, request: Request, rows: Sequence[tuple[int, np.ndarray]]) -> dict[str, Any]:
        as_text = request.options.get("encoding_format") == "base64"
        data = []
        for index, row in rows:
            vector = row.astype(np.float32)
            value = base64.b64encode(vector.tobytes()).decode() if as_text else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": value})
        usage = {"prompt_tokens": request.tokens, "total_tokens": request.tokens}
        return {"object": "list", "data": data, "model": request.model, "usage": usage}

    def error(self, refused: Refused) -> dict[str, Any]:
        return {
            "error": {
                "message": refused.message,
                "type": refused.kind or "invalid_request_error",
                "param": refused.param,
                "code": refused.code,
            }
        }

    def scripted(self, fault: Fault, request: Request) -> Refused:
        if fault == "no_credit":
            return Refused(429, _NO_CREDIT, kind="insufficient_quota", code="insufficient_quota")
        status = int(fault)
        message, kind, code = _WORDS.get(
            status, (f"Scripted fault {status}.", "server_error", None)
        )
        return Refused(status, message, kind=kind, code=code)

    def over_quota(self, limit: str, wait: float, request: Request) -> Refused:
        quota = self.behaviour.quota
        size = quota.state()[limit][0] if quota else 0
        words = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}[limit]
        return Refused(
            429,
            f"Rate limit reached for {request.model} in organization org-test on {words}: Limit "
            f"{size}, Requested {request.tokens}. Please try again in {duration(wait)}.",
            kind=limit,
            code="rate_limit_exceeded",
            retry_in=wait,
        )

    def headers(self) -> dict[str, str]:
        quota = self.behaviour.quota
        state = {name: (limit, limit, 0.0) for name, limit in DEFAULT_LIMITS.items()}
        state |= quota.state() if quota else {}
        headers = {}
        for name, (limit, remaining, reset) in state.items():
            headers[f"x-ratelimit-limit-{name}"] = str(limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(remaining)
            headers[f"x-ratelimit-reset-{name}"] = duration(reset)
        return headers

    async def respond(self, http: web.Request, request: Request) -> Reply:
        page, _, model = request.path.removeprefix("/").partition("/")
        if page != "models" or request.method != "GET":
            return await self.batches.respond(http, request)
        if self.model_pages == "none" or (model and self.model_pages == "list"):
            raise Refused(404, "Not Found")
        if model and model not in self._models:
            said = f"The model '{model}' does not exist"
            raise Refused(404, said, param="model", code="model_not_found")
        known = [model] if model else self._models
        described = [
            {"id": name, "object": "model", "created": 0, "owned_by": "x"} for name in known
        ]
        body = described[0] if model else {"object": "list", "data": described}
        return Reply(json.dumps(body).encode())


def duration(seconds: float) -> str:
    """As OpenAI writes it: `12ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(seconds // 60)}m{round(seconds % 60)}s"


def openai_server(
    behaviour: Behaviour | None = None, models: Mapping[str, int] | None = None
) -> OpenAIServer:
    """Use it as `with openai_server(...) as server`."""
    return OpenAIServer(behaviour, models)
