"""Local servers that speak a provider's protocol over real sockets, and misbehave on request.

    with voyage_server(Behaviour(faults=[503, None, "nan"])) as server:
        client = voyageai.Client(api_key=server.behaviour.key, base_url=server.url)

A handler is cancelled when its client goes away, so what a client gave up on is neither billed nor
served here; a real provider may well bill it.
"""

import asyncio
import base64
import hashlib
import json
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np
from aiohttp import web

from tests.providers.behaviour import Behaviour, Fault, Request, RowFault, count_tokens

HTML = b"<html><body><h1>Please sign in to the corporate proxy</h1></body></html>"
SOUND = (None, "slow_body", "reordered", "no_index", "from_one", "no_usage")
PIECES = 20
"""Writes that a slow body is spread over."""


class Refused(Exception):
    """An answer that is not 200; `code` and `param` are for providers that send them."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str | None = None,
        retry_in: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.kind, self.retry_in = kind, retry_in


@dataclass
class Reply:
    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def embedding(family: str, text: str, dimensions: int) -> np.ndarray:
    """The vector of a text: unit length, float32, always the same.

    The input type plays no part, so tests can tell what a vector is for. Fewer dimensions are the
    leading ones of more, normalised again, as in the real (matryoshka) models.
    """
    digest = hashlib.blake2b(f"{family}\0{text}".encode(), digest_size=16).digest()
    generator = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    vector = generator.standard_normal(dimensions)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


class ProviderServer(ABC):
    """A provider on 127.0.0.1; the loop runs in a thread of its own."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.max_concurrency = 0
        """Most requests to /embeddings that were under way at once."""
        self.in_flight = 0
        """Requests to /embeddings that have arrived whole and are not answered: a client that is
        frozen or killed while it sends one never sends the rest."""
        self.failures: list[Exception] = []
        """Defects of the server itself; leaving the `with` block raises the first."""
        self._calls: list[Request] = []
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def calls(self) -> list[Request]:
        """Every request in order of arrival, of all paths."""
        return list(self._calls)

    @property
    def requests(self) -> list[Request]:
        """The requests to /embeddings."""
        return [call for call in self.calls if call.path == "/embeddings"]

    def _embedded(self) -> list[Request]:
        """All that vectors were computed for; batches add their lines."""
        return self.requests

    @property
    def texts_served(self) -> Counter[str]:
        """Text -> sound replies with its vector; above 1: embedded twice without need."""
        return Counter(text for call in self._embedded() if call.served for text in call.texts)

    @property
    def texts_billed(self) -> Counter[str]:
        """Text -> times it was computed, damaged and lost replies included."""
        return Counter(text for call in self._embedded() if call.billed for text in call.texts)

    @property
    def tokens_billed(self) -> int:
        return sum(call.tokens for call in self._embedded() if call.billed)

    @property
    def rate_limited(self) -> int:
        """Requests that were answered 429."""
        return sum(call.status == 429 for call in self.requests)

    def freeze(self, seconds: float) -> None:
        """Do nothing for so long, as a machine that has too much else to do."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def __enter__(self) -> Self:
        self._thread.start()
        self._port = self._run(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            self._run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=60)
        self._loop.close()
        if self.failures and error is None:
            raise self.failures[0]

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    async def _start(self) -> int:
        app = web.Application(client_max_size=512 * 2**20)
        app.router.add_route("*", "/v1/{path:.*}", self._handle)
        # What hangs at the end is cut off, or every test with a fault would wait for it.
        self._runner = web.AppRunner(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=0.05
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self._runner.addresses[0][1]

    # What a provider defines.

    @abstractmethod
    def check(self, request: Request) -> None:
        """Refuse what the real API refuses."""

    @abstractmethod
    def rows(self, request: Request) -> list[np.ndarray]:
        """The right vectors, before any damage."""

    @abstractmethod
    def body(self, request: Request, rows: Sequence[tuple[int, np.ndarray]]) -> dict[str, Any]:
        """A reply's JSON from (index, vector)."""

    @abstractmethod
    def error(self, refused: Refused) -> dict[str, Any]:
        """An error's JSON."""

    @abstractmethod
    def scripted(self, fault: Fault, request: Request) -> Refused:
        """The provider's own words for a scripted status or `no_credit`."""

    @abstractmethod
    def over_quota(self, limit: str, wait: float, request: Request) -> Refused: ...

    def headers(self) -> dict[str, str]:
        return {}

    async def respond(self, http: web.Request, request: Request) -> Reply:
        """Answer a path other than /embeddings."""
        raise Refused(404, f"Unknown request URL: {request.method} {request.path}")

    # One request.

    async def _handle(self, http: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in http.headers.items()}
        authorized = headers.pop("authorization", "") == f"Bearer {self.behaviour.key}"
        path = "/" + http.match_info["path"].strip("/")
        request = Request(len(self._calls), http.method, path, headers, time.monotonic())
        self._calls.append(request)
        arrived = False
        try:
            if path == "/embeddings":
                await http.read()  # it keeps what it has read, for `_reply`
                arrived = True
                self.in_flight += 1
                self.max_concurrency = max(self.max_concurrency, self.in_flight)
            reply = await self._reply(http, request, authorized=authorized)
            return await self._send(http, request, reply)
        except asyncio.CancelledError:
            request.abandoned = request.fault is None and request.status is None
            raise
        except ConnectionError:  # the client left while the body was written
            request.served = False
            raise
        except Exception as error:
            self.failures.append(error)
            raise
        finally:
            self.in_flight -= arrived

    async def _reply(self, http: web.Request, request: Request, *, authorized: bool) -> Reply:
        behaviour = self.behaviour
        try:
            if request.path == "/embeddings":
                self._read(request, await http.read())
            if not authorized:
                raise self.scripted(401, request)
            if behaviour.quota and request.path == "/embeddings":
                over = behaviour.quota.admit(request.tokens)
                if over:
                    raise self.over_quota(*over, request)
            fault = request.fault = behaviour.next_fault(request)
            if fault == "reset":
                await _reset(http)
            if fault == "hang":
                behaviour.silent(request)
                await _wait_for_ever()
            await asyncio.sleep(behaviour.seconds(request))
            while behaviour.hold(request):
                await asyncio.sleep(0.002)
            if isinstance(fault, int) or fault == "no_credit":
                raise self.scripted(fault, request)
            if fault in ("not_json", "html_502"):
                status = 502 if fault == "html_502" else 200
                return Reply(HTML, status, content_type="text/html")
            if fault == "error_200":
                error = self.error(Refused(200, "No endpoint is free."))
                return Reply(json.dumps(error).encode(), headers=self.headers())
            if request.path != "/embeddings":
                return await self.respond(http, request)
            body = json.dumps(self.embed(request, fault)).encode()
        except Refused as refused:
            retry = {}
            if refused.status in (429, 503):
                seconds = refused.retry_in
                retry = behaviour.retry_headers(
                    behaviour.retry_after_seconds if seconds is None else seconds
                )
            error = json.dumps(self.error(refused)).encode()
            return Reply(error, refused.status, headers=self.headers() | retry)
        if fault == "broken_json":
            body = body[: len(body) // 2]
        return Reply(body, headers=self.headers())

    def _read(self, request: Request, data: bytes) -> None:
        try:
            options = json.loads(data)
            texts = options.pop("input")
        except (ValueError, KeyError, AttributeError) as error:
            raise Refused(400, "The body is no JSON object with `input`.") from error
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refused(400, "This server embeds a string or a list of strings.", param="input")
        request.texts, request.options = texts, options
        request.tokens = sum(self.text_tokens(texts))

    def text_tokens(self, texts: Sequence[str]) -> list[int]:
        return [count_tokens(text, self.behaviour.characters_per_token) for text in texts]

    def embed(self, request: Request, fault: Fault | None = None) -> dict[str, Any]:
        """The reply's JSON, damaged as the fault says."""
        for word in self.behaviour.poison:
            if any(word in text for text in request.texts):
                raise Refused(400, "The input was rejected.", param="input")
        encoding = request.options.get("encoding_format", "float")
        if encoding not in self.behaviour.encodings:
            raise Refused(400, f"encoding_format {encoding} is not supported")
        self.check(request)
        rows = self.rows(request)
        request.billed = True
        body = self.body(request, _damaged(rows, fault))
        self._spoil(body["data"], request, fault)
        if fault == "no_usage":
            del body["usage"]
        return body

    def _spoil(self, data: list[dict[str, Any]], request: Request, fault: Fault | None) -> None:
        for row, text in zip(data, request.texts, strict=False):
            for word, damage in self.behaviour.row_faults.items():
                if word in text:
                    row["embedding"] = _row(row["embedding"], damage)
        for row in data:
            if fault == "no_index":
                del row["index"]
            if fault == "zero_index":
                row["index"] = 0
            if fault == "from_one":
                row["index"] += 1

    async def _send(self, http: web.Request, request: Request, reply: Reply) -> web.StreamResponse:
        fault = request.fault
        response = web.StreamResponse(status=reply.status, headers=dict(reply.headers))
        response.content_type = reply.content_type
        if fault == "drip":
            await response.prepare(http)
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
        response.content_length = len(reply.body)
        trickles = fault in ("slow_body", "stall", "cut")
        size = -(-len(reply.body) // PIECES) if trickles else len(reply.body)
        pieces = [reply.body[at : at + size] for at in range(0, len(reply.body), size or 1)]
        sound = request.billed and reply.status == 200 and fault in SOUND
        if fault != "slow_body":
            self._close(request, reply, sound=sound)
        await response.prepare(http)
        for number, piece in enumerate(pieces):
            if fault == "stall" and number == len(pieces) // 2:
                self.behaviour.silent(request)
                await _wait_for_ever()
            if fault == "cut" and number == len(pieces) // 2:
                await _reset(http)
            if fault == "slow_body":
                await asyncio.sleep(self.behaviour.trickle_seconds / len(pieces))
                if number == len(pieces) - 1:
                    self._close(request, reply, sound=sound)
            await response.write(piece)
        await response.write_eof()
        return response

    @staticmethod
    def _close(request: Request, reply: Reply, *, sound: bool) -> None:
        # Before the last byte goes out: a test reads the record as soon as its client has it.
        request.status, request.answered = reply.status, time.monotonic()
        request.served = sound


def _damaged(rows: list[np.ndarray], fault: Fault | None) -> list[tuple[int, np.ndarray]]:
    match fault:
        case "short":
            rows = rows[:-1]
        case "long":
            rows = [*rows, rows[-1]]
        case "empty":
            rows = []
        case "nan":
            rows = [*rows[:-1], rows[-1] * np.float32("nan")]
        case "wrong_width":
            rows = [row[:-1] / np.linalg.norm(row[:-1]) for row in rows]
        case "ragged":
            rows = [*rows[:-1], rows[-1][:-1]]
        case "not_unit":
            rows = [*rows[:-1], rows[-1] * 3]
    indexed = list(enumerate(rows))
    if fault in ("reordered", "from_one"):
        indexed.reverse()
    if fault == "duplicate_index":
        indexed = [(0 if index < 2 else index, row) for index, row in indexed]
    return indexed


def _row(embedding: Any, damage: RowFault) -> Any:
    """The row of one text, damaged; `embedding` as it would be sent."""
    if isinstance(embedding, str):
        numbers = np.frombuffer(base64.b64decode(embedding), "<f4")
    else:
        numbers = np.array(embedding, np.float32)
    match damage:
        case "null":
            return None
        case "nulls":
            return [None] * len(numbers)
        case "nan":
            return [float("nan")] * len(numbers)
        case "nan_base64":
            return base64.b64encode((numbers * np.float32("nan")).tobytes()).decode()
        case "empty":
            return "" if isinstance(embedding, str) else []
        case "narrow":
            return numbers[:-1].tolist()
        case "not_unit":
            return (numbers * 3).tolist()
        case "words":
            return "not base64 at all"


async def _wait_for_ever() -> NoReturn:
    while True:
        await asyncio.sleep(3600)


async def _reset(http: web.Request) -> NoReturn:
    transport = http.transport
    assert transport is not None
    # Lingering for zero seconds makes the close a reset on the wire, not an orderly end.
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
    await _wait_for_ever()  # until the lost connection cancels this handler
    raise AssertionError
