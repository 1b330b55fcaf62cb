"""What is said of a deployment: by servers without Vector Search, each in words of its own."""

import logging

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from resources.mongodb.deployment import NO_SEARCH, inspect_deployment, lacks_search
from tests.search_node import search_node
from tests.search_node.server import NOT_ENABLED


def test_a_server_without_search_says_so_in_our_words(database, caplog):
    with caplog.at_level(logging.DEBUG):
        found = inspect_deployment(database.client, database.name)
    assert not found.vector_search
    assert str(found) == f"{found.name}: no Vector Search here"
    # Whoever asks for more gets what the server said.
    assert "not here, by error" in caplog.text


@pytest.mark.parametrize(
    ("code", "words", "lacks"),
    [
        (31082, NOT_ENABLED, True),
        (115, "Search index commands are not supported", True),
        (59, "no such command: 'listSearchIndexes'", True),
        (40324, "Unrecognized pipeline stage name: '$listSearchIndexes'", True),
        (8000, "$listSearchIndexes is not allowed in this atlas tier", True),
        (8000, "you are over your space quota", False),
        (13, "not authorized on films to execute command", False),
    ],
)
def test_which_errors_mean_that(code: int, words: str, lacks: bool):
    assert lacks_search(OperationFailure(words, code, {"errmsg": words})) is lacks


def test_one_with_search(mongod_uri):
    with search_node(mongod_uri) as node, MongoClient(node.uri) as client:
        found = inspect_deployment(client, "test")
    assert found.vector_search
    assert NO_SEARCH not in str(found)
