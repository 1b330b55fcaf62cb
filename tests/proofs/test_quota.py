"""Three processes keep one quota together, one of them killed in the middle."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from itertools import count

import pymongo
import pytest

from resources.embedders.openai import OpenAIProvider
from resources.embedders.quota import QuotaSettings
from resources.embedders.resource import EmbedderResource
from resources.registry.quota_book import Terms
from resources.registry.quotas import COLLECTION, Quota
from tests.killing import FORKS
from tests.providers.openai import OpenAIServer

pytestmark = pytest.mark.proof

# A minute as it passes in a fifth of one; what guards it is in proportion.
SHORT = Terms(window=12, guard=0.2, slot=0.05, life=0.4, burst=1.2, at_once=0.4)
REQUESTS = 360
WINDOWS = 3


def _embed(uri: str, database: str, url: str, key: str, name: str) -> None:
    client: pymongo.MongoClient = pymongo.MongoClient(uri)
    settings = QuotaSettings(name="account", requests_per_minute=REQUESTS)
    provider = OpenAIProvider(api_key=key, base_url=url, max_texts=1, dimensions=64, concurrency=4)
    embedder = EmbedderResource(provider=provider, quota=settings)
    shared = Quota(client[database][COLLECTION], settings, name, terms=SHORT)
    texts = (f"{name} {number}" for number in count())
    with embedder.open(quota=shared) as opened:
        batches = ((number, [next(texts) for _ in range(4)]) for number in count())
        for _ in opened.embed_batches(batches):
            pass


@pytest.fixture
def children(
    mongod_uri: str, openai_api: OpenAIServer
) -> Iterator[list[multiprocessing.process.BaseProcess]]:
    database = f"test_quota_{os.getpid()}"
    made = [
        FORKS.Process(
            target=_embed,
            args=(mongod_uri, database, openai_api.url, openai_api.behaviour.key, f"pipeline-{n}"),
        )
        for n in range(3)
    ]
    for each in made:
        each.start()
    yield made
    for each in made:
        each.kill()
        each.join()
    with pymongo.MongoClient(mongod_uri) as client:
        client.drop_database(database)


def test_three_processes_use_nine_tenths_of_a_quota_and_never_more_than_all_of_it(
    children, openai_api: OpenAIServer
):
    def arrivals() -> list[float]:
        return sorted(call.arrived for call in openai_api.requests)

    def senders() -> set[str]:
        return {call.texts[0].split()[0] for call in openai_api.requests if call.texts}

    deadline = time.monotonic() + 60
    while len(senders()) < len(children):
        assert time.monotonic() < deadline, "not all of them came to send anything"
        time.sleep(0.05)
    began = time.monotonic()
    while (passed := time.monotonic() - began) < WINDOWS * SHORT.window:
        if passed > 1.2 * SHORT.window and children[0].is_alive():
            os.kill(children[0].pid, signal.SIGKILL)
            children[0].join()
        time.sleep(0.05)
    ended = time.monotonic()
    found = arrivals()
    most = oldest = 0
    for newest, moment in enumerate(found):
        while found[oldest] <= moment - SHORT.window:
            oldest += 1
        most = max(most, newest - oldest + 1)
    during = sum(began <= moment < ended for moment in found)
    allowed = REQUESTS * (ended - began) / SHORT.window
    found_out = f"at most {most} of {REQUESTS} in a window, {during / allowed:.1%} of all used"
    assert most <= REQUESTS, found_out
    assert during >= 0.9 * allowed, found_out
    assert all(call.status in (200, None) for call in openai_api.requests)
