"""Fixtures for a conftest to import: a server for one test, well-behaved until told otherwise."""

from collections.abc import Iterator

import pytest

from tests.providers.openai import OpenAIServer, openai_server
from tests.providers.voyage import VoyageServer, voyage_server


@pytest.fixture
def voyage_api() -> Iterator[VoyageServer]:
    with voyage_server() as server:
        yield server


@pytest.fixture
def openai_api() -> Iterator[OpenAIServer]:
    with openai_server() as server:
        yield server
