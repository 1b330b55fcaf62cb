"""Embedders of remote providers, connected to servers that speak their protocols."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from resources.embedders import pace, remote, sending
from resources.embedders.journal import Journal
from resources.embedders.openai import OpenAIProvider
from resources.embedders.remote import RemoteEmbedder
from resources.embedders.resource import EmbedderResource
from resources.embedders.voyage import VoyageProvider
from tests.clock import Clock
from tests.providers import behaviour
from tests.providers import server as provider_server
from tests.providers.server import ProviderServer
from tests.providers.voyage import VoyageServer

Connect = Callable[..., RemoteEmbedder]


@pytest.fixture(params=["voyage", "openai"])
def api(request: pytest.FixtureRequest) -> ProviderServer:
    """Each provider's server; tests that use it hold for both."""
    return request.getfixturevalue(f"{request.param}_api")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """That of the embedders which `connect` opens, and of the providers' servers."""
    clock = Clock()
    for module in (pace, sending, behaviour, provider_server):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(remote, "asyncio", clock)
    return clock


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Opens an embedder of a server's provider, narrow ones where not told otherwise."""
    clock = request.getfixturevalue("clock") if "clock" in request.fixturenames else None
    with ExitStack() as opened:

        def to(server: ProviderServer, journal: Journal | None = None, **settings: Any) -> Any:
            settings = {
                "api_key": server.behaviour.key,
                "base_url": server.url,
                "dimensions": 256,
                "timeout_seconds": 60,
            } | settings
            kind = VoyageProvider if isinstance(server, VoyageServer) else OpenAIProvider
            resource = EmbedderResource(provider=kind(**settings))
            embedder: Any = opened.enter_context(resource.open(journal=journal))
            if clock is not None:
                embedder.request = clock.watch(embedder.request)
                server.behaviour.silent = clock.silent
            return embedder

        yield to
