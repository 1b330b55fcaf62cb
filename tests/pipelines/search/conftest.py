import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.conftest import Servers
from tests.search_node import search_node
from tests.two_spaces import TwoSpaces, two_spaces
from tests.workshop import Workshop

KINDS = ("film", "play", "song")


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """Of the index; a test that is about both says so by `indirect`."""
    return getattr(request, "param", "local")


@pytest.fixture
def films(tmp_path, mongod_uri, static_model, engine: str) -> Iterator[Workshop]:
    """Thirty texts, one chunk each, not yet run."""
    with ExitStack() as stack:
        uri = mongod_uri
        if engine == "mongodb":
            uri = stack.enter_context(search_node(mongod_uri)).uri
        yield from _films(tmp_path, uri, static_model, engine)


def _films(folder: Path, uri: str, model: str, engine: str) -> Iterator[Workshop]:
    made = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", model)
    made.configure({"search_index": {"engine": engine, "poll_seconds": 0.05}})
    made.write(
        [
            {"_id": n, "text": f"the {KINDS[n % 3]} number {n}", "kind": KINDS[n % 3]}
            for n in range(30)
        ]
    )
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@contextmanager
def built(folder: Path, uri: str, model: str, engine: str) -> Iterator[TwoSpaces]:
    """Those texts in two spaces."""
    with contextmanager(_films)(folder, uri, model, engine) as shop:
        yield two_spaces(shop)


@pytest.fixture(scope="package")
def _two(
    tmp_path_factory: pytest.TempPathFactory, _servers: Servers, static_model: str
) -> Iterator[TwoSpaces]:
    folder = tmp_path_factory.mktemp("two")
    with built(folder, _servers.uri("mongod"), static_model, "local") as found:
        yield found


@pytest.fixture
def two(_two: TwoSpaces) -> TwoSpaces:
    """The first serves; whoever changes more than that sets it right again."""
    _two.serve(_two.first)
    return _two
