"""Voyage AI's rerank endpoint; limits as its documentation has them in November 2026.

What it does with an empty document is not documented: here it refuses the request.
"""

import json
import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.providers.behaviour import Fault, Request

if TYPE_CHECKING:
    from tests.providers.server import ProviderServer

MAX_TEXTS = 1000
REQUEST_TOKENS = 600_000
QUERY_TOKENS = 8_000
CONTEXT = 32_000
MODELS = ("rerank-2.5", "rerank-2.5-lite", "rerank-3", "rerank-3-lite")


class Unfit(Exception):
    """What it answers with 400."""


def relevance(query: str, text: str) -> float:
    """Share of the query's words that a text has, a little less for a longer text."""
    words = set(re.findall(r"\w+", query.lower()))
    found = re.findall(r"\w+", text.lower())
    return len(words & set(found)) / max(len(words), 1) * 0.9 + 0.05 / (1 + len(text))


def read(request: Request, data: bytes) -> None:
    try:
        options = json.loads(data)
        request.texts, query = options.pop("documents"), options["query"]
    except (ValueError, KeyError, AttributeError) as error:
        raise Unfit("The body is no JSON object with `query` and `documents`.") from error
    if not isinstance(query, str) or not all(isinstance(text, str) for text in request.texts):
        raise Unfit("`query` is a string and `documents` a list of strings.")
    request.options = options


def check(server: "ProviderServer", request: Request) -> None:
    query, texts, failed = request.options["query"], request.texts, "Request to rerank failed. "
    if request.model not in MODELS:
        raise Unfit(f"Model {request.model} is not supported. Supported models are {[*MODELS]}.")
    if not texts or not all(texts) or not query:
        raise Unfit("Input cannot contain empty strings or empty lists")
    if len(texts) > MAX_TEXTS:
        raise Unfit(f"The batch size limit is {MAX_TEXTS}. Your batch size is {len(texts)}.")
    for word in server.behaviour.poison:
        if any(word in text for text in [query, *texts]):
            raise Unfit("The input was rejected.")
    (asked,), counts = server.text_tokens([query]), server.text_tokens(texts)
    if not request.options.get("truncation", True):
        if asked > QUERY_TOKENS:
            raise Unfit(f"{failed}The query has more than {QUERY_TOKENS} tokens.")
        too_long = [place for place, count in enumerate(counts) if asked + count > CONTEXT]
        if too_long:
            raise Unfit(
                f"{failed}The document at index {too_long[0]} and the query have more than "
                f"{CONTEXT} tokens."
            )
    asked = min(asked, QUERY_TOKENS)
    request.tokens = sum(asked + min(count, CONTEXT - asked) for count in counts)
    if request.tokens > REQUEST_TOKENS:
        raise Unfit(f"{failed}The max allowed tokens per request is {REQUEST_TOKENS}.")


def reply(request: Request) -> dict[str, Any]:
    """Best first, damaged as the request's fault says."""
    query = request.options["query"]
    rows = [
        {"relevance_score": relevance(query, text), "index": at}
        for at, text in enumerate(request.texts)
    ]
    rows.sort(key=lambda row: -row["relevance_score"])
    document: dict[str, Any] = {
        "object": "list",
        "data": _damaged(rows, request.fault),
        "model": request.model,
        "usage": {"total_tokens": request.tokens},
    }
    if request.fault == "no_usage":
        del document["usage"]
    return document


def _damaged(rows: list[dict[str, Any]], fault: Fault | None) -> list[dict[str, Any]]:
    match fault:
        case "short":
            return rows[:-1]
        case "long":
            return [*rows, rows[-1]]
        case "empty":
            return []
        case "nan":
            return [*rows[:-1], rows[-1] | {"relevance_score": float("nan")}]
        case "nulls":
            return [row | {"relevance_score": None} for row in rows]
        case "duplicate_index":
            return [*rows[:-1], rows[-1] | {"index": rows[0]["index"]}]
        case "from_one":
            return [row | {"index": row["index"] + 1} for row in rows]
        case "from_the_end":
            return [row | {"index": row["index"] - len(rows)} for row in rows]
        case "no_index":
            return [{"relevance_score": row["relevance_score"]} for row in rows]
        case "constant":
            return [row | {"relevance_score": 0.5986876487731934} for row in rows]
    return rows


async def rerank(server: "ProviderServer", http: web.Request, request: Request) -> bytes:
    """The body of a reply.

    Raises:
        Unfit: Where the real API refuses.
    """
    read(request, await http.read())
    check(server, request)
    request.billed = True
    body = json.dumps(reply(request)).encode()
    return body[: len(body) // 2] if request.fault == "broken_json" else body
