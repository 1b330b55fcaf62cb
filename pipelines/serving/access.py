"""Who may ask: the right host, the right page, the right token; and the headers of every answer."""

import hashlib
import hmac
import ipaddress
import re
import secrets
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION = "embeddings_session"
SESSION_SECONDS = 12 * 3600
OPEN_PATHS = ("/healthz",)
"""Answer anybody; say nothing about the project."""

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[^:\[\]@/\\\s]+)(?::(?P<port>\d{1,5}))?", re.I)


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        hosts: Names that the server answers to, without a port; in small letters.
        any_address: Answer to any IP address too: for a server that listens on all of them. No
            name that somebody else's DNS leads here is an address.
        token: Asked of everybody; empty for nobody.
    """

    hosts: Collection[str]
    any_address: bool = False
    token: str = field(default="", repr=False)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def knows_host(self, header: str) -> bool:
        found = _HOST.fullmatch(header)
        if not found:
            return False
        name = found["name"].lower().strip("[]").rstrip(".")
        return name in self.hosts or (self.any_address and _is_address(name))

    def is_token(self, given: str) -> bool:
        return hmac.compare_digest(_digest(given), _digest(self.token))

    def session(self) -> str:
        """A cookie's value: until when it holds, signed by this process."""
        until = str(int(time.time()) + SESSION_SECONDS)
        return f"{until}.{self._signature(until)}"

    def is_session(self, value: str) -> bool:
        until, _, signature = value.partition(".")
        signed = hmac.compare_digest(_digest(signature), _digest(self._signature(until)))
        return signed and int(until) > time.time()

    def lets_in(self, request: Request) -> bool:
        if not self.token:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.is_token(given.strip()):
            return True
        return self.is_session(request.cookies.get(SESSION, ""))

    def _signature(self, until: str) -> str:
        return hmac.new(self._key, until.encode(), hashlib.sha256).hexdigest()


class Guard:
    """Refuses before the application is asked, and adds the headers to whatever it answers."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(Request(scope))
        await (refusal or self.app)(scope, receive, _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        headers, path = request.headers, request.url.path
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self.access.knows_host(hosts[0]):
            return refused(
                400,
                "this server does not go by that name: ask it by its own address, or start it "
                "with --allow-host and the name",
            )
        if path != "/" and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return refused(403, "another site's page may not ask this server")
        if request.method not in ("GET", "HEAD") and not _same_origin(headers, hosts[0]):
            return refused(403, "another site's page may not ask this server")
        if path in ("/", *OPEN_PATHS) or self.access.lets_in(request):
            return None  # at / the page itself asks for the token
        answer = refused(
            401,
            "give the token: `Authorization: Bearer …` with what EMBEDDINGS_TOKEN holds where the "
            "server was started, or open the page and give it there",
        )
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer


def refused(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"error": sentence}, status)


def _same_origin(headers: Headers, host: str) -> bool:
    """Of a request that a browser's page sent; others name no origin."""
    origin = headers.get("origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


def _digest(text: str) -> bytes:
    # Of one length, whatever is given.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
