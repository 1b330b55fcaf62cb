"""Requests to Voyage AI through its SDK's transport, with the answer as it came."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resources.embedders.failures import RequestFailed, lower_case


@dataclass(frozen=True)
class Answer:
    """An HTTP response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class VoyageConnection:
    """Used within one event loop; opened by the first request.

    What `AsyncClient` sends, but not what it makes of the answer: it drops the position of each
    row, or counts a wrong one from the end, and keeps little of the server's own words.
    """

    def __init__(self, api_key: str, base_url: str | None, timeout_seconds: float) -> None:
        self._key, self._url, self._timeout = api_key, base_url, timeout_seconds
        self._session: Any = None
        self._parameters: dict[str, Any] = {}

    async def post(self, path: str, parameters: Mapping[str, Any]) -> Answer:
        """Send one request, once.

        Raises:
            RequestFailed: No answer came; what it costs is known only where nothing was sent.
        """
        import aiohttp
        import voyageai.error
        from voyageai.api_resources.api_requestor import APIRequestor

        self._connect()
        requestor = APIRequestor(self._parameters["api_key"], self._parameters["base_url"])
        try:
            answer = await requestor.arequest_raw(
                "post",
                path,
                self._session,
                params=dict(parameters),
                request_timeout=self._timeout,
            )
            async with answer:
                body = await answer.read()
        except voyageai.error.Timeout as error:
            raise RequestFailed("transient", "no answer in time", timed_out=True) from error
        except voyageai.error.VoyageError as error:
            sent = not isinstance(error.__cause__, aiohttp.ClientConnectorError)
            said = str(error.user_message).rstrip(".")
            raise RequestFailed("transient", said, tokens=None if sent else 0) from error
        return Answer(answer.status, lower_case(answer.headers), body)

    def _connect(self) -> None:
        if self._session is None:
            import aiohttp
            from voyageai.client_async import AsyncClient

            client = AsyncClient(api_key=self._key, timeout=self._timeout, base_url=self._url)
            # Key, endpoint (which depends on the kind of key) and timeout, as the SDK sees them.
            self._parameters = client._params  # noqa: SLF001
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
