"""Voyage AI's rerankers through its own SDK."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from resources.embedders.failures import RequestFailed, usage_tokens
from resources.embedders.replies import data_of
from resources.embedders.settings import VOYAGE_KEY
from resources.embedders.voyage_connection import VoyageConnection
from resources.rerankers.base import Scored
from resources.rerankers.facts import Facts
from resources.rerankers.meter import Meter
from resources.rerankers.provider import Stored
from resources.rerankers.remote import RemoteReranker, RemoteReranking


class VoyageReranking(RemoteReranking):
    """Voyage AI's rerankers."""

    kind: Literal["voyage"] = "voyage"
    model: str = Field(
        default="rerank-2.5",
        min_length=1,
        description="rerank-2.5, rerank-2.5-lite, rerank-3, …; see `embeddings models --rerank`.",
    )
    api_key: str = Field(default=dg.EnvVar(VOYAGE_KEY), description="Always from the environment.")
    truncate: bool = Field(
        default=True,
        description="Let the provider cut a query or a text that is too long; else such a text "
        "stands last.",
    )

    def facts(self) -> Facts:
        return Facts.priced(self.kind, self.model)

    def open(self, stored: Stored | None = None, meter: Meter | None = None) -> "VoyageReranker":
        return VoyageReranker(self, meter)


class VoyageReranker(RemoteReranker):
    def __init__(self, provider: VoyageReranking, meter: Meter | None) -> None:
        super().__init__(provider, meter)
        self._provider = provider
        self._connection = VoyageConnection(
            provider.api_key, provider.base_url, provider.timeout_seconds
        )

    async def request(self, query: str, texts: list[str]) -> Scored:
        provider = self._provider
        answer = await self._connection.post(
            "/rerank",
            {
                "query": query,
                "documents": texts,
                "model": provider.model,
                "truncation": provider.truncate,
            },
        )
        status, headers, body = answer.status, answer.headers, answer.body
        return read_answer(status, headers, body, texts=texts, key=provider.api_key)

    async def disconnect(self) -> None:
        await self._connection.close()


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, texts: list[str], key: str
) -> Scored:
    """The scores of a reply, in the order of the texts.

    Raises:
        RequestFailed: The reply holds none, or nobody can tell whose they are.
    """
    data, document = data_of(status, headers, body, variable=VOYAGE_KEY, key=key, texts=texts)
    tokens = usage_tokens(document.get("usage"))
    rows = [row if isinstance(row, Mapping) else {} for row in data]
    fault = _fault([row.get("index") for row in rows], len(texts))
    if fault:
        raise RequestFailed("transient", fault, damaged=True, answered=True, tokens=tokens)
    scores: list[float | None] = [None] * len(texts)
    for row in rows:
        scores[row["index"]] = _number(row.get("relevance_score"))
    return Scored(scores, tokens)


def _fault(order: Sequence[Any], texts: int) -> str:
    if len(order) != texts:
        return f"it returned {len(order)} scores for {texts} texts"
    known = {at for at in order if isinstance(at, int) and not isinstance(at, bool)}
    if known != set(range(texts)):
        return (
            "it names with its scores not each text once, so that they belong to none for certain"
        )
    return ""


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
