"""Three processes keep one quota together, one of them killed in the middle."""

import multiprocessing
import os
import random
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
from tests.machines import PATIENCE
from tests.providers.openai import OpenAIServer

pytestmark = pytest.mark.proof

# A minute as it passes in half of one, all else in proportion.
SHORT = Terms(window=30, transit=2.5, slot=0.125, life=1, burst=3, at_once=1)
WINDOWS = 2
LIMITS = [{"requests_per_minute": 360}, {"tokens_per_minute": 9_000}]


def _embed(uri: str, database: str, url: str, key: str, name: str, limits: dict[str, int]) -> None:
    client: pymongo.MongoClient = pymongo.MongoClient(uri)
    settings = QuotaSettings(name="account", **limits)
    provider = OpenAIProvider(api_key=key, base_url=url, max_texts=1, dimensions=64, concurrency=4)
    embedder = EmbedderResource(provider=provider, quota=settings)
    shared = Quota(client[database][COLLECTION], settings, name, terms=SHORT)
    texts = (f"{name} {number}" + " a" * (number * 7 % 50) for number in count())
    with embedder.open(quota=shared) as opened:
        batches = ((number, [next(texts) for _ in range(4)]) for number in count())
        for _ in opened.embed_batches(batches):
            pass


@pytest.fixture
def children(
    mongod_uri: str, openai_api: OpenAIServer, limits: dict[str, int]
) -> Iterator[list[multiprocessing.process.BaseProcess]]:
    database = f"test_quota_{os.getpid()}"
    made = [
        FORKS.Process(
            target=_embed,
            args=(
                mongod_uri,
                database,
                openai_api.url,
                openai_api.behaviour.key,
                f"pipeline-{n}",
                limits,
            ),
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


@pytest.mark.parametrize("limits", LIMITS, ids=["requests", "tokens"])
def test_three_processes_use_nine_tenths_of_a_quota_and_never_more_than_all_of_it(
    children, openai_api: OpenAIServer, limits: dict[str, int]
):
    (limit,) = limits.values()
    openai_api.behaviour.characters_per_token = 3.0  # as estimated, but for what is rounded

    def arrivals() -> list[tuple[float, int]]:
        by_tokens = "tokens_per_minute" in limits
        calls = sorted(openai_api.requests, key=lambda call: call.arrived)
        return [(call.arrived, call.tokens if by_tokens else 1) for call in calls]

    def senders() -> set[str]:
        return {call.texts[0].split()[0] for call in openai_api.requests if call.texts}

    deadline = time.monotonic() + PATIENCE
    while len(senders()) < len(children):
        assert time.monotonic() < deadline, "not all of them came to send anything"
        time.sleep(0.05)
    began = time.monotonic()
    while (passed := time.monotonic() - began) < WINDOWS * SHORT.window:
        if passed > 0.7 * SHORT.window and children[0].is_alive():
            os.kill(children[0].pid, signal.SIGKILL)
            children[0].join()
        # What is sent meanwhile gets there late, and no longer so than a request may take.
        openai_api.freeze(random.uniform(0, 0.3) * SHORT.transit)
        time.sleep(random.uniform(1, 4))
    ended = time.monotonic()
    found = arrivals()
    most = held = oldest = 0
    for moment, amount in found:
        held += amount
        while found[oldest][0] <= moment - SHORT.window:
            held -= found[oldest][1]
            oldest += 1
        most = max(most, held)
    during = sum(amount for moment, amount in found if began <= moment < ended)
    allowed = limit * (ended - began) / SHORT.window
    found_out = f"at most {most} of {limit} in a window, {during / allowed:.1%} of all used"
    assert most <= limit, found_out
    assert during >= 0.9 * allowed, found_out
    assert all(call.status in (200, None) for call in openai_api.requests)
