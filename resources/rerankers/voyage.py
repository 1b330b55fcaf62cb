"""Voyage AI's rerankers through its own SDK."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from resources.embedders.failures import RequestFailed, explained, lower_case, usage_tokens
from resources.embedders.settings import VOYAGE_KEY
from resources.rerankers.base import Scored
from resources.rerankers.facts import Facts
from resources.rerankers.meter import Meter
from resources.rerankers.provider import Stored
from resources.rerankers.remote import RemoteReranker, RemoteReranking


class VoyageReranking(RemoteReranking):
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
        self._session: Any = None
        self._parameters: dict[str, Any] = {}

    async def request(self, query: str, texts: list[str]) -> Scored:
        import aiohttp
        import voyageai.error
        from voyageai.api_resources.api_requestor import APIRequestor

        await self._connect()
        provider = self._provider
        # What `AsyncClient.rerank` sends, but the answer as it came: it takes a wrong position for
        # a text counted from the end, and keeps little of the server's own words.
        requestor = APIRequestor(self._parameters["api_key"], self._parameters["base_url"])
        try:
            answer = await requestor.arequest_raw(
                "post",
                "/rerank",
                self._session,
                params={
                    "query": query,
                    "documents": texts,
                    "model": provider.model,
                    "truncation": provider.truncate,
                },
                request_timeout=provider.timeout_seconds,
            )
            async with answer:
                body = await answer.read()
        except voyageai.error.Timeout as error:
            raise RequestFailed("transient", "no answer in time", timed_out=True) from error
        except voyageai.error.VoyageError as error:
            sent = not isinstance(error.__cause__, aiohttp.ClientConnectorError)
            said = str(error.user_message).rstrip(".")
            raise RequestFailed("transient", said, tokens=None if sent else 0) from error
        headers = lower_case(answer.headers)
        return read_answer(answer.status, headers, body, texts=texts, key=provider.api_key)

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


def read_answer(
    status: int, headers: Mapping[str, str], body: bytes, *, texts: list[str], key: str
) -> Scored:
    """The scores of a reply, in the order of the texts.

    Raises:
        RequestFailed: The reply holds none, or nobody can tell whose they are.
    """
    document: Any = None
    if 200 <= status < 300:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            if body.lstrip()[:1] in (b"{", b"["):
                reason = f"the reply cannot be read ({type(error).__name__})"
                raise RequestFailed("transient", reason, damaged=True, answered=True) from error
    data = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(data, list) or (not data and document.get("error")):
        raise explained(status, headers, body, variable=VOYAGE_KEY, key=key, texts=texts)
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
