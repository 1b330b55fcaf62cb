"""A quota that pipelines share, in real servers."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC

import pymongo
import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError

from resources.core.moment import elapsed
from resources.embedders.pace import Pace
from resources.embedders.quota import NOTHING, Amount, Change, QuotaSettings
from resources.mongodb.lease_entries import server_time
from resources.registry.quota_book import MINUTE
from resources.registry.quotas import COLLECTION, Quota
from tests.killing import cut_proxy


def quota(database, pipeline: str = "films", warn=lambda line: None, **limits) -> Quota:
    settings = QuotaSettings(name="account", **limits)
    return Quota(database[COLLECTION], settings, pipeline, warn)


def counted(database) -> tuple[int, int]:
    """Requests and tokens that count, of all slots."""
    found = database[COLLECTION].find_one({"_id": "account"})
    requests, tokens = zip(*found["slots"].values(), strict=True) if found["slots"] else ((), ())
    return sum(requests), sum(tokens)


def test_of_many_at_once_every_reservation_counts(database):
    """And all of it is free again when none was used."""
    together = threading.Barrier(5)

    def reserve(number: int) -> None:
        own = quota(database, f"pipeline {number}", requests_per_minute=10_000)
        together.wait(60)
        given = [own.reserve(Amount(3, 50), [])[0] for _ in range(6)]
        together.wait(60)
        if number == 0:
            assert counted(database) == (5 * 6 * 3, 5 * 6 * 50)
        together.wait(60)
        own.settle([Change(each.place, each.amount, NOTHING, None) for each in given])

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(reserve, range(5)))
    assert counted(database) == (0, 0)
    found = database[COLLECTION].find_one({"_id": "account"})
    assert found["version"] == 5 * 7


def test_who_asks_later_begins_later(database):
    one, other = (quota(database, name, requests_per_minute=60) for name in ("a", "b"))
    first, _ = one.reserve(Amount(60), [])
    second, _ = other.reserve(Amount(1), [])
    assert first.begin <= elapsed()
    assert second.begin - first.end > 55
    # What the first one did not need is not waited for any more.
    _, (place,) = one.reserve(
        Amount(1), [Change(first.place, first.amount, Amount(2), first.begin)]
    )
    assert place != first.place
    assert counted(database)[0] == 4


def test_other_limits_in_another_pipeline_are_told_and_the_smaller_hold(database):
    told: list[str] = []
    one = quota(database, "films", told.append, requests_per_minute=100, tokens_per_minute=9_000)
    other = quota(database, "books", told.append, requests_per_minute=50)
    one.reserve(Amount(1, 10), [])
    other.reserve(Amount(50, 10), [])
    given, _ = one.reserve(Amount(1, 10), [])
    assert given.begin > elapsed() + 30
    one.settle([])
    assert told == [
        "the quota account is 50 requests a minute here, and 100 requests and 9,000 tokens a "
        "minute in the pipeline films: 50 requests and 9,000 tokens a minute holds while both are "
        "at work; give it the same limits in both",
        "the quota account is 100 requests and 9,000 tokens a minute here, and 50 requests a "
        "minute in the pipeline books: 50 requests and 9,000 tokens a minute holds while both are "
        "at work; give it the same limits in both",
    ]


@pytest.mark.parametrize("first", [True, False], ids=["made", "changed"])
@pytest.mark.parametrize("others", [0, 3])
def test_what_was_written_though_nobody_heard_of_it_counts_once(
    database, monkeypatch, first, others
):
    own = quota(database, requests_per_minute=1_000)
    other = quota(database, "books", requests_per_minute=1_000)
    given, changes = None, []
    if not first:
        given, _ = own.reserve(Amount(100), [])
        changes = [Change(given.place, given.amount, Amount(10), None)]
    insert, update, left = Collection.insert_one, Collection.update_one, ["once"]

    def unheard(write):
        def wrapped(self, *args, **options):
            done = write(self, *args, **options)
            if left and self.name == COLLECTION:
                left.clear()
                for _ in range(others):
                    other.reserve(Amount(1), [])
                raise AutoReconnect("gone before the answer")
            return done

        return wrapped

    monkeypatch.setattr(Collection, "insert_one", unheard(insert))
    monkeypatch.setattr(Collection, "update_one", unheard(update))
    own.reserve(Amount(5), changes)
    assert not left
    assert counted(database)[0] == 5 + others + (0 if first else 10)


def test_a_connection_that_breaks_is_made_again_and_a_server_that_is_gone_is_an_error(mongod_uri):
    port = pymongo.uri_parser.parse_uri(mongod_uri)["nodelist"][0][1]
    with cut_proxy(port) as proxy:
        uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        client: pymongo.MongoClient = pymongo.MongoClient(uri)
        database = client["test_quota_cut"]
        try:
            own = quota(database, requests_per_minute=1000)
            own.reserve(Amount(1), [])
            proxy.left = 700  # in the middle of what comes next
            own.reserve(Amount(1), [])
            own.reserve(Amount(1), [])
            assert proxy.cuts == 1
            assert counted(database)[0] == 3
        finally:
            client.drop_database(database.name)
            client.close()
        proxy.close()
        with pymongo.MongoClient(uri, serverSelectionTimeoutMS=300) as client:
            own = quota(client["test_quota_cut"], requests_per_minute=1000)
            with pytest.raises(ServerSelectionTimeoutError):
                own.reserve(Amount(1), [])


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_minute": 6_000, "tokens_per_minute": 600_000},
        {"requests_per_minute": 6_000},
        {"tokens_per_minute": 600_000},
    ],
    ids=["both", "requests", "tokens"],
)
def test_a_process_reserves_for_many_requests_at_once_and_reports_what_they_took(database, limits):
    """What one does not limit counts as well: another pipeline may."""

    async def work() -> Pace:
        own = quota(database, **limits)
        pace = Pace(50, quota=own)

        async def one() -> None:
            async with pace.turn(30) as turn:
                await pace.go(turn, 30)
                pace.over(turn)
                pace.used(turn, 30, 20)

        await asyncio.gather(*(one() for _ in range(50)))
        async with pace.turn(30):
            pass  # never sent
        return pace

    pace = asyncio.run(work())
    pace.close()
    assert counted(database) == (50, 50 * 20)
    # 51 of them, which a reservation each would have taken.
    assert database[COLLECTION].find_one({"_id": "account"})["version"] < 10


@pytest.mark.parametrize("seconds", [0.0, 3.0, 60.0])
def test_a_request_counts_from_when_it_was_answered(database, monkeypatch, seconds):
    """It may have got there just before, if that is not very long after it was sent."""

    async def work() -> Pace:
        pace = Pace(1, quota=quota(database, requests_per_minute=6_000))
        async with pace.turn(1) as turn:
            await pace.go(turn, 1)
            now = elapsed()
            monkeypatch.setattr("resources.embedders.reserve.elapsed", lambda: now + seconds)
            pace.over(turn)
        return pace

    began = server_time(database[COLLECTION]).replace(tzinfo=UTC).timestamp()
    pace = asyncio.run(work())
    ended = server_time(database[COLLECTION]).replace(tzinfo=UTC).timestamp()
    pace.close()
    found = database[COLLECTION].find_one({"_id": "account"})
    (slot,) = map(int, found["slots"])
    counts = min(seconds, MINUTE.transit)
    assert began + counts <= MINUTE.end(slot) <= ended + counts + 2 * MINUTE.slot


def test_what_lapsed_before_it_was_sent_is_reserved_anew(database, monkeypatch):
    async def work() -> Pace:
        pace = Pace(1, quota=quota(database, requests_per_minute=6_000))
        async with pace.turn(1) as turn:
            lapsed = turn.ticket
            later = elapsed() + 100
            monkeypatch.setattr("resources.embedders.reserve.elapsed", lambda: later)
            monkeypatch.setattr("resources.registry.quotas.elapsed", lambda: later)
            await pace.go(turn, 1)
            assert turn.ticket is not lapsed
        return pace

    pace = asyncio.run(work())
    pace.close()
    assert counted(database)[0] == 1
