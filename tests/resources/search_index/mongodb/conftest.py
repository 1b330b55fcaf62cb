import secrets
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest

from tests.resources.search_index.mongodb.bench import Bench
from tests.search_node import SearchNode, search_node


@pytest.fixture
def node(mongod_uri: str) -> Iterator[SearchNode]:
    with search_node(mongod_uri) as started:
        yield started


@pytest.fixture
def bench(node: SearchNode, tmp_path: Path) -> Iterator[Bench]:
    client: pymongo.MongoClient = pymongo.MongoClient(node.uri, uuidRepresentation="standard")
    made = Bench(node, client, f"test_{secrets.token_hex(6)}", str(tmp_path))
    made.fill()
    yield made
    made.drop()
