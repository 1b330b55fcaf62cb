"""Voyage AI's endpoints; limits and messages as its documentation and users quote them.

The limits are those of MongoDB's documentation of November 2026.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from aiohttp import web

from tests.providers import reranking
from tests.providers.batches import VoyageBatches
from tests.providers.behaviour import Behaviour, Fault, Request
from tests.providers.server import ProviderServer, Refused, Reply, embedding

MAX_TEXTS = 1000
MATRYOSHKA = (256, 512, 1024, 2048)
DTYPES = ("float", "int8", "uint8", "binary", "ubinary")


@dataclass(frozen=True)
class Model:
    request_tokens: int
    family: str
    context: int = 32_000
    widths: Sequence[int] = MATRYOSHKA


MODELS = {
    # the voyage-4 models share one embedding space
    "voyage-4-large": Model(120_000, "voyage-4"),
    "voyage-4": Model(320_000, "voyage-4"),
    "voyage-4-lite": Model(1_000_000, "voyage-4"),
    "voyage-code-4": Model(320_000, "voyage-code-4"),
    "voyage-code-3": Model(120_000, "voyage-code-3"),
    "voyage-3-large": Model(120_000, "voyage-3-large"),
    "voyage-3.5": Model(320_000, "voyage-3.5"),
    "voyage-3.5-lite": Model(1_000_000, "voyage-3.5-lite"),
    "voyage-finance-2": Model(120_000, "voyage-finance-2", widths=(1024,)),
    "voyage-law-2": Model(120_000, "voyage-law-2", context=16_000, widths=(1024,)),
}

_WORDS = {
    401: "Provided API key is invalid.",
    403: "Your account is not permitted to use this model.",
    429: "You have exceeded your rate limit. Please slow down.",
}


def quantized(vector: np.ndarray, dtype: str) -> np.ndarray:
    """A vector in another output type; binary ones carry eight dimensions a byte, offset by 128."""
    match dtype:
        case "float":
            return vector.astype(np.float32)
        case "int8" | "uint8":
            scaled = np.rint(vector / np.abs(vector).max() * 127)
            return (scaled + (128 if dtype == "uint8" else 0)).astype(dtype)
    bits = np.packbits(vector > 0)
    return bits if dtype == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)


class VoyageServer(ProviderServer):
    def __init__(self, behaviour: Behaviour | None = None) -> None:
        super().__init__(behaviour)
        self.batches = VoyageBatches(self)

    def _embedded(self) -> list[Request]:
        return [*self.requests, *self.batches.lines]

    async def respond(self, http: web.Request, request: Request) -> Reply:
        if request.path == "/rerank":
            try:
                return Reply(await reranking.rerank(self, http, request), headers=self.headers())
            except reranking.Unfit as unfit:
                raise Refused(400, str(unfit)) from unfit
        return await self.batches.respond(http, request)

    def vector(self, text: str, *, model: str = "voyage-4-large", width: int = 1024) -> np.ndarray:
        """What an embedding of this text is, for comparison."""
        return embedding(MODELS[model].family, text, width)

    def check(self, request: Request) -> None:
        model = MODELS.get(request.model)
        if model is None:
            raise Refused(
                400, f"Model {request.model} is not supported. Supported models are {[*MODELS]}."
            )
        _check_options(request.options, model)
        texts, failed = request.texts, f"Request to model '{request.model}' failed. "
        if len(texts) > MAX_TEXTS:
            raise Refused(
                400, f"The batch size limit is {MAX_TEXTS}. Your batch size is {len(texts)}."
            )
        if not texts or not all(texts):
            raise Refused(400, "Input cannot contain empty strings or empty lists")
        counts = self.text_tokens(texts)
        truncation = request.options.get("truncation", True)
        too_long = [place for place, count in enumerate(counts) if count > model.context]
        if too_long and not truncation:
            raise Refused(
                400,
                f"{failed}The example at index {too_long[0]} in your batch has too many tokens "
                f"and does not fit into the model's context window of {model.context} tokens. "
                "Please lower the number of tokens in the listed example(s) or use truncation.",
            )
        request.tokens = sum(min(count, model.context) for count in counts)
        if request.tokens > model.request_tokens:
            raise Refused(
                400,
                f"{failed}The max allowed tokens per submitted batch is {model.request_tokens}. "
                f"Your batch has {request.tokens} tokens after truncation. "
                "Please lower the number of tokens in the batch.",
            )

    def rows(self, request: Request) -> list[np.ndarray]:
        width = request.options.get("output_dimension") or 1024
        family = MODELS[request.model].family
        return [embedding(family, text, width) for text in request.texts]

    def body(self, request: Request, rows: Sequence[tuple[int, np.ndarray]]) -> dict[str, Any]:
        dtype = request.options.get("output_dtype") or "float"
        as_text = request.options.get("encoding_format") == "base64"
        data = []
        for index, row in rows:
            vector = quantized(row, dtype)
            value = base64.b64encode(vector.tobytes()).decode() if as_text else vector.tolist()
            data.append({"object": "embedding", "embedding": value, "index": index})
        usage = {"total_tokens": request.tokens}
        return {"object": "list", "data": data, "model": request.model, "usage": usage}

    def error(self, refused: Refused) -> dict[str, Any]:
        return {"detail": refused.message}

    def scripted(self, fault: Fault, request: Request) -> Refused:
        status = 403 if fault == "no_credit" else int(fault)
        return Refused(status, _WORDS.get(status, f"Scripted fault {status}."))

    def over_quota(self, limit: str, wait: float, request: Request) -> Refused:
        words = {"requests": "RPM", "tokens": "TPM"}[limit]
        return Refused(429, f"{_WORDS[429]} (limit: {words})", retry_in=wait)


def _check_options(options: dict[str, Any], model: Model) -> None:
    width, dtype = options.get("output_dimension"), options.get("output_dtype")
    if width is not None and width not in model.widths:
        raise Refused(
            400,
            f"Value '{width}' supplied for argument 'output_dimension' is not valid -- accepted "
            f"values are {list(model.widths)}.",
        )
    choices = {"input_type": ("query", "document"), "output_dtype": DTYPES}
    choices["encoding_format"] = ("base64",)
    for name, accepted in choices.items():
        value = options.get(name)
        if value is not None and value not in accepted:
            raise Refused(
                400,
                f"Value '{value}' supplied for argument '{name}' is not valid -- accepted values "
                f"are {[*accepted]} or null.",
            )
    if dtype in ("binary", "ubinary") and (width or 1024) % 8:
        raise Refused(400, "Binary embeddings need a width that is a multiple of 8.")


def voyage_server(behaviour: Behaviour | None = None) -> VoyageServer:
    """Use it as `with voyage_server(...) as server`."""
    return VoyageServer(behaviour)
