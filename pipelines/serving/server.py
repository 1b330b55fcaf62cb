"""Listen, and answer until told to stop."""

import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import uvicorn

from pipelines.serving.access import Access
from pipelines.serving.app import Application
from resources.core.errors import ConfigurationError
from resources.core.loopback import LOOPBACK

PORT = 8080
TOKEN = "EMBEDDINGS_TOKEN"
MIN_TOKEN = 16
"""Characters; `openssl rand -hex 24` makes 48."""
DAGSTER_URL = "http://127.0.0.1:3000"

MAX_CONNECTIONS = 256
MAX_HEADERS = 128 * 1024
"""Bytes, the address with its query included."""


def bound(host: str, port: int | None) -> socket.socket:
    """A socket with its address; it does not listen yet.

    Args:
        host: An address of this machine, or a name of one.
        port: None for 8080, or a free one where that is taken.

    Raises:
        ConfigurationError: The port is taken, or the address is not this machine's.
    """
    for wanted in [port] if port is not None else [PORT, 0]:
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            found = socket.socket(family, socket.SOCK_STREAM)
            if os.name == "posix":  # elsewhere it would let two servers have one port
                found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                found.bind(address)
            except OSError:
                found.close()
                raise
            return found
        except (OSError, OverflowError, UnicodeError) as error:
            if port is not None or wanted == 0:
                raise ConfigurationError(
                    f"cannot listen on {host}:{wanted or 'any port'} "
                    f"({getattr(error, 'strerror', None) or error}): choose another with --port, "
                    "or another address of this machine with --host"
                ) from error
    raise AssertionError


def access(own: socket.socket, host: str, allowed: Sequence[str]) -> Access:
    """Who may ask a server that listens there.

    Args:
        own: Where it will listen.
        host: As it was asked for.
        allowed: Further names that it answers to.

    Raises:
        ConfigurationError: Others than this machine can reach it, and there is no token.
    """
    address = ipaddress.ip_address(own.getsockname()[0].split("%")[0])
    token = os.environ.get(TOKEN, "")
    if not address.is_loopback and not token:
        raise ConfigurationError(
            f"{host} can be reached from other machines: set {TOKEN}, which everybody then has to "
            "give, or leave --host out to serve this machine alone"
        )
    if token and len(token) < MIN_TOKEN:
        raise ConfigurationError(
            f"{TOKEN} has {len(token)} characters: take at least {MIN_TOKEN} that nobody guesses, "
            "such as `openssl rand -hex 24` prints"
        )
    names = {host, str(address), *allowed}
    if address.is_loopback or address.is_unspecified:
        names |= {*LOOPBACK}
    if address.is_unspecified:
        names |= {socket.gethostname()}
    hosts = {name.lower().strip("[]") for name in names}
    return Access(hosts, any_address=address.is_unspecified, token=token)


def address_of(own: socket.socket) -> str:
    """For a browser on this machine."""
    name, port = own.getsockname()[:2]
    address = ipaddress.ip_address(name.split("%")[0])
    if address.is_unspecified:
        name = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def checked_url(url: str) -> str:
    """Where Dagster's UI is.

    Raises:
        ConfigurationError: No browser would find it.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"the address of Dagster's UI is {url!r}: give one such as {DAGSTER_URL}"
        )
    return url


def configured(application: Application) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            application.asgi,
            http="h11",  # whose headers have a bound
            h11_max_incomplete_event_size=MAX_HEADERS,
            ws="none",
            lifespan="on",
            log_level="warning",
            access_log=False,  # addresses hold what people ask
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=3,
        )
    )


def serve(application: Application, own: socket.socket, ready: Callable[[], None]) -> None:
    """Answer until Ctrl-C."""
    server = configured(application)
    own.listen()
    ready()
    with suppress(KeyboardInterrupt):  # uvicorn raises it again once all is closed
        server.run(sockets=[own])
    if not application.closed:
        # A search hangs in a thread, for which the interpreter would wait.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
