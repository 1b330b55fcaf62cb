"""The lease of a pipeline: one run at a time, and no write by a holder gone stale."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from resources.core.chunks import Chunk
from resources.core.errors import LeaseError
from resources.core.lane import Lane
from resources.core.lineage import Lineage
from resources.core.moment import now
from resources.core.space import EmbeddingSpace
from resources.mongodb import lease as lease_module
from resources.mongodb.lease import COLLECTION, Lease, held, server_time
from resources.sources.inline import TextsOrigin
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource
from resources.vector_store.writer import VectorWriter

SOURCE = SourceResource(origin=TextsOrigin(documents=["x"]))
SPACE = EmbeddingSpace("p", "model", "", 8, "", normalized=False)

pytestmark = pytest.mark.usefixtures("counted")


def hold(database, run: str, **changes) -> AbstractContextManager[Lease]:
    settings = {"seconds": 30, "wait_seconds": 0} | changes
    lane = Lane("films", settings.pop("space", "space-a"), settings.pop("shard", None))
    return held(database.client, database.name, lane, run, **settings)


def gone_pid() -> int:
    """The pid of a process that has ended."""
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def open_writer(database, lease: Lease | None) -> VectorWriter:
    resource = VectorStoreResource(database=database.name, collection="vectors")
    return VectorWriter(
        resource.open(database.client, SOURCE, SPACE, "films", scale_of=lambda _: None), lease
    )


def write(writer: VectorWriter, text: str, chunk_id: str = "a") -> int:
    chunk = Chunk.whole(chunk_id, text, {})
    lineage = Lineage("space-a", "model-a", chunk.text_hash, "batch-1", "run-1", now())
    return writer.write([(chunk, np.ones(8, np.float32), lineage)])


def test_a_second_run_is_refused_and_told_who_is_at_work(database):
    with (
        hold(database, "run-1"),
        pytest.raises(LeaseError, match=f"run run-1 .process {os.getpid()} .* pipeline films"),
        hold(database, "run-2"),
    ):
        pytest.fail("two runs at once")


def test_another_pipeline_does_not_wait(database):
    books = Lane("books", "space-a")
    with hold(database, "run-1"), held(
        database.client, database.name, books, "run-2", seconds=30, wait_seconds=0
    ) as lease:  # fmt: skip
        lease.check()


def test_the_next_run_begins_at_once_with_a_larger_token(database):
    with hold(database, "run-1") as first:
        pass
    with hold(database, "run-2") as second:
        assert second.token == first.token + 1


def test_a_run_keeps_its_lease_from_one_asset_to_the_next(database):
    with hold(database, "run-1", last=False) as first:
        pass
    with pytest.raises(LeaseError), hold(database, "run-2"):
        pytest.fail("run-1 has not ended")
    with hold(database, "run-1") as second:
        assert second.token == first.token


def test_a_failed_run_lets_go(database):
    with pytest.raises(ZeroDivisionError), hold(database, "run-1", last=False):
        1 / 0  # noqa: B018
    with hold(database, "run-2") as lease:
        assert lease.token == 2


def test_a_run_that_waits_goes_on_when_the_other_ends(database):
    lines: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        with hold(database, "run-1"):

            def second() -> int:
                with hold(database, "run-2", wait_seconds=600, log=lines.append) as lease:
                    return lease.token

            waiting = pool.submit(second)
            while not lines:
                time.sleep(0.05)
            assert not waiting.done()
        assert waiting.result(timeout=200) == 2
    assert len(lines) == 1
    assert "run run-1" in lines[0]


def test_of_many_runs_at_once_one_gets_it(database):
    def attempt(run: int) -> bool:
        try:
            with hold(database, f"run-{run}", last=False):
                return True
        except LeaseError:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1


def test_a_run_whose_process_died_is_replaced_at_once(database):
    with suppress(LeaseError), hold(database, "run-1"):
        database[COLLECTION].update_one({"_id": "films"}, {"$set": {"pid": gone_pid()}})
        with hold(database, "run-2") as lease:
            assert lease.token == 2


def test_a_run_that_dagster_knows_to_have_ended_is_replaced_at_once(database):
    with hold(database, "run-1", last=False):
        pass
    with hold(database, "run-2", finished=lambda run: run == "run-1") as lease:
        assert lease.token == 2


def test_a_run_of_another_machine_is_replaced_when_it_was_not_heard_of(database):
    with hold(database, "run-1", last=False):
        database[COLLECTION].update_one({"_id": "films"}, {"$set": {"host": "elsewhere"}})
    with pytest.raises(LeaseError, match="on elsewhere"), hold(database, "run-2"):
        pytest.fail("its term has not ended")
    past = server_time(database[COLLECTION]) - timedelta(seconds=1)
    database[COLLECTION].update_one({"_id": "films"}, {"$set": {"expires_at": past}})
    with hold(database, "run-2") as lease:
        assert lease.token == 2


def expiry(database) -> datetime:
    return database[COLLECTION].find_one({"_id": "films"})["expires_at"]


@pytest.fixture
def often(monkeypatch):
    """Renewals come many times a second, while a term takes minutes."""
    monkeypatch.setattr(lease_module, "RENEWALS_PER_TERM", 20_000)


def test_a_lease_is_renewed_while_it_is_held(database, often, monkeypatch):
    clock = lease_module._clock
    with hold(database, "run-1", seconds=600) as lease:
        at_first = expiry(database)
        monkeypatch.setattr(lease_module, "_clock", lambda: clock() + 590)
        # The first may have been asked for before, the second is through when the third comes.
        for _ in range(3):
            renewed = expiry(database)
            while expiry(database) == renewed:
                time.sleep(0.01)
        assert expiry(database) > at_first
        monkeypatch.setattr(lease_module, "_clock", lambda: clock() + 1180)
        lease.check()
        with pytest.raises(LeaseError), hold(database, "run-2"):
            pytest.fail("run-1 is at work")


def replaced(database) -> None:
    database[COLLECTION].update_one({"_id": "films"}, {"$set": {"run": "run-2", "token": 2}})


@pytest.mark.parametrize("last", [True, False])
def test_a_holder_that_was_replaced_hears_of_it_at_the_end(database, last):
    lease = (holding := hold(database, "run-1", last=last)).__enter__()
    replaced(database)
    lease.check()  # it does not know yet
    with pytest.raises(LeaseError, match="run run-1 held the pipeline films"):
        holding.__exit__(None, None, None)
    assert database[COLLECTION].find_one({"_id": "films"})["run"] == "run-2"


def test_the_term_begins_when_it_is_asked_for(database, monkeypatch):
    def frozen(*args):
        token = take(*args)
        # As if the process had been frozen after the server's answer.
        monkeypatch.setattr("resources.mongodb.lease._clock", lambda: clock() + 31)
        return token

    take, clock = lease_module.take, lease_module._clock
    monkeypatch.setattr("resources.mongodb.lease.take", frozen)
    with hold(database, "run-1") as lease, pytest.raises(LeaseError, match="not heard of"):
        lease.check()


def go_on_checking(lease: Lease) -> None:
    for _ in range(6000):  # a minute
        lease.check()
        time.sleep(0.01)


def test_a_lease_that_cannot_be_renewed_stops_its_holder(database, often):
    """Long before its term ends: whoever took it over is at work."""
    with suppress(LeaseError), hold(database, "run-1", seconds=600) as lease:
        lease.check()
        replaced(database)
        with pytest.raises(LeaseError, match="replaced"):
            go_on_checking(lease)
    # what the other run holds stays held
    assert database[COLLECTION].find_one({"_id": "films"})["run"] == "run-2"


class TestStaleHolder:
    """A process was frozen, another run took over, and then it thaws in the middle of a write."""

    @pytest.fixture
    def leases(self, database):
        with suppress(LeaseError), hold(database, "run-1") as old:
            database[COLLECTION].update_one({"_id": "films"}, {"$set": {"host": "elsewhere"}})
            past = server_time(database[COLLECTION]) - timedelta(seconds=1)
            database[COLLECTION].update_one({"_id": "films"}, {"$set": {"expires_at": past}})
            with hold(database, "run-2") as new:
                old.check()  # it does not know yet
                yield old, new

    def test_its_writes_fail(self, database, leases):
        old, new = leases
        with pytest.raises(LeaseError, match="run run-1 held the pipeline films"):
            write(open_writer(database, old), "an insert, which has no fence")
        assert database["vectors"].count_documents({}) == 0, "it is taken back"
        assert write(open_writer(database, new), "newer") == 1
        with pytest.raises(LeaseError, match="run run-1 held the pipeline films"):
            write(open_writer(database, old), "older")
        assert database["vectors"].find_one({"_id": "a"})["text"] == "newer"

    def test_its_deletions_find_nothing(self, database, leases):
        old, new = leases
        write(open_writer(database, new), "newer")
        assert open_writer(database, old).delete(["a"]) == 0
        assert open_writer(database, new).delete(["a"]) == 1

    def test_the_new_holder_overwrites_what_the_old_one_wrote(self, database, leases, monkeypatch):
        old, new = leases
        monkeypatch.setattr(old, "overtaken", lambda: False)  # as before it was
        write(open_writer(database, old), "older")
        assert write(open_writer(database, new), "newer") == 1
        assert database["vectors"].find_one({"_id": "a"})["embedding_lineage"]["token"] == new.token


def test_vectors_from_before_there_were_leases_are_written(database):
    write(open_writer(database, None), "before")
    with hold(database, "run-1") as lease:
        assert write(open_writer(database, lease), "after") == 1


class TestBetweenSteps:
    """A run that has put its lease down: its next step is a process of its own."""

    @pytest.fixture
    def paused(self, database):
        with hold(database, "run-1", last=False):
            pass
        database[COLLECTION].update_one({"_id": "films"}, {"$set": {"pid": gone_pid()}})
        return database

    @pytest.mark.parametrize("known", [None, False])
    def test_the_end_of_its_process_is_not_the_end_of_the_run(self, paused, known):
        asked = []

        def finished(run: str) -> bool | None:
            asked.append(run)
            return known

        with pytest.raises(LeaseError, match="run-1"), hold(paused, "run-2", finished=finished):
            pytest.fail("run-1 goes on")
        assert asked == ["run-1"]
        with hold(paused, "run-1") as lease:
            assert lease.token == 1
        assert "paused" not in paused[COLLECTION].find_one({"_id": "films"})

    def test_it_is_replaced_when_it_is_known_to_have_ended(self, paused):
        with hold(paused, "run-2", finished=lambda run: True) as lease:
            assert lease.token == 2

    def test_it_is_replaced_when_it_was_not_heard_of(self, paused):
        past = server_time(paused[COLLECTION]) - timedelta(seconds=1)
        paused[COLLECTION].update_one({"_id": "films"}, {"$set": {"expires_at": past}})
        with hold(paused, "run-2") as lease:
            assert lease.token == 2

    def test_put_down_by_hand_it_is_between_steps(self, database):
        with suppress(LeaseError), hold(database, "run-1") as lease:
            assert lease.pause()
            assert database[COLLECTION].find_one({"_id": "films"})["paused"] is True

    def test_where_one_process_does_all_steps_its_end_is_the_runs(self, database):
        with hold(database, "run-1", last=False, one_process=True):
            pass
        database[COLLECTION].update_one({"_id": "films"}, {"$set": {"pid": gone_pid()}})
        with hold(database, "run-2", finished=lambda run: False) as lease:
            assert lease.token == 2

    def test_taken_up_again_it_is_at_work(self, paused):
        with suppress(LeaseError), hold(paused, "run-1"):
            paused[COLLECTION].update_one({"_id": "films"}, {"$set": {"pid": gone_pid()}})
            with hold(paused, "run-2", finished=lambda run: False) as lease:
                assert lease.token == 2


STEP = """
import sys
from pymongo import MongoClient
from resources.core.lane import Lane
from resources.mongodb.lease import held
client = MongoClient(sys.argv[1])
lane = Lane("films", "space-a")
with held(client, sys.argv[2], lane, "run-1", seconds=600, wait_seconds=0, last=False):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("killed", [True, False])
def test_a_process_that_ends_its_step_leaves_its_run_and_one_that_is_killed_does_not(
    database, killed
):
    host, port = database.client.address
    child = subprocess.Popen(
        [sys.executable, "-c", STEP, f"mongodb://{host}:{port}/?directConnection=true",
         database.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stdout
    assert child.stdout.readline() == "held\n"
    theirs = database[COLLECTION].find_one({"_id": "films"})["token"]
    if killed:
        child.kill()
    child.communicate("")
    if killed:
        with hold(database, "run-2", finished=lambda run: False) as lease:
            assert lease.token == theirs + 1
        return
    assert child.returncode == 0
    with pytest.raises(LeaseError, match="run-1"), hold(database, "run-2"):
        pytest.fail("run-1 has steps to do")
    with hold(database, "run-1") as lease:
        assert lease.token == theirs


class TestShards:
    def test_two_shards_are_held_at_once_and_one_shard_once(self, database):
        with hold(database, "run-1", shard=0) as one, hold(database, "run-2", shard=1) as two:
            assert (one.token, two.token) == (1, 2)
            with pytest.raises(LeaseError, match=r"run run-1 .* on shard 0 of the pipeline films"):
                hold(database, "run-3", shard=0).__enter__()
            one.check()
            assert not one.overtaken()
            assert not two.overtaken()

    @pytest.mark.parametrize("first", [None, 3])
    def test_planning_excludes_every_shard_and_is_excluded_by_any(self, database, first):
        second = 3 if first is None else None
        with (
            hold(database, "run-1", shard=first),
            pytest.raises(LeaseError, match="run-1"),
            hold(database, "run-2", shard=second),
        ):
            pytest.fail("both at once")
        with hold(database, "run-2", shard=second) as lease:
            assert lease.token == 2

    def test_a_run_plans_and_goes_on_with_its_shards(self, database):
        with hold(database, "run-1", last=False) as planning:
            pass
        with (
            hold(database, "run-1", shard=0) as one,
            hold(database, "run-1", shard=1) as two,
            pytest.raises(LeaseError),
            hold(database, "run-2", shard=2),
        ):
            pytest.fail("run-1 has put the whole down, and not let go")
        assert planning.token < one.token < two.token

    def test_another_space_of_the_pipeline_waits(self, database):
        with hold(database, "run-1", shard=0), pytest.raises(LeaseError, match="run-1"):
            hold(database, "run-2", shard=1, space="space-b").__enter__()
        with hold(database, "run-2", shard=1, space="space-b") as lease:
            assert lease.token == 2

    def test_planning_takes_over_from_shards_not_heard_of(self, database):
        with suppress(LeaseError), hold(database, "run-1", shard=0) as old:
            past = server_time(database[COLLECTION]) - timedelta(seconds=1)
            gone = {"$set": {"shards.0.expires_at": past}}
            database[COLLECTION].update_one({"_id": "films"}, gone)
            with hold(database, "run-2") as new:
                assert new.token > old.token
                assert old.overtaken()
                with pytest.raises(LeaseError):
                    hold(database, "run-1", shard=0).__enter__()

    def test_a_shard_takes_over_from_planning_not_heard_of(self, database):
        with suppress(LeaseError), hold(database, "run-1") as old:
            past = server_time(database[COLLECTION]) - timedelta(seconds=1)
            database[COLLECTION].update_one({"_id": "films"}, {"$set": {"expires_at": past}})
            with hold(database, "run-2", shard=0) as new:
                assert new.token > old.token
                assert old.overtaken()

    def test_shards_at_work_write_one_entry_and_fence_what_was_before_them(self, database):
        entries = database["entries"]
        with suppress(LeaseError), hold(database, "run-0") as before:
            past = server_time(database[COLLECTION]) - timedelta(seconds=1)
            database[COLLECTION].update_one({"_id": "films"}, {"$set": {"expires_at": past}})
            with hold(database, "run-1", shard=0) as one, hold(database, "run-2", shard=1) as two:
                two.put(entries, "store", {"by": "two"})
                one.put(entries, "store", {"by": "one"})
                with pytest.raises(LeaseError):
                    before.put(entries, "store", {"by": "before"})
                assert entries.find_one({"_id": "store"})["by"] == "one"
            with hold(database, "run-3") as after:
                after.put(entries, "store", {"by": "after"})
                with pytest.raises(LeaseError):
                    one.put(entries, "store", {"by": "one"})

    def test_the_counter_outlives_the_shards(self, database):
        for n in range(3):
            with hold(database, "run-1", shard=n) as lease:
                assert lease.token == n + 1
        found = database[COLLECTION].find_one({"_id": "films"})
        assert (found["token"], found["run"], found["shards"]) == (3, None, {})


def test_a_lease_of_the_version_before_lanes_is_honoured_and_replaced(database):
    own = {"run": "run-1", "token": 7, "host": "elsewhere", "pid": 1, "started": 1.0}
    until = server_time(database[COLLECTION]) + timedelta(seconds=60)
    database[COLLECTION].insert_one({"_id": "films", **own, "expires_at": until})
    with pytest.raises(LeaseError, match=r"run-1 .process 1 on elsewhere"):
        hold(database, "run-2", shard=1).__enter__()
    with hold(database, "run-1") as lease:
        assert lease.token == 7
    with hold(database, "run-2") as lease:
        assert lease.token == 8
    # Without shards it reads as it did.
    kept = {"_id": "films", "run": None, "token": 8}
    found = database[COLLECTION].find_one({"_id": "films"})
    assert {**found, "expires_at": 0} == {**kept, "expires_at": 0}


# --- a registry that was lost, or restored to an earlier day


def test_a_token_is_the_servers_time_or_more(in_time, database):
    before = milliseconds(database)
    with hold(database, "run-1") as one:
        assert before <= one.token <= milliseconds(database)
    with hold(database, "run-2") as two:
        assert two.token > one.token
    ahead = milliseconds(database) + 3_600_000  # of a clock that was set back since
    database[COLLECTION].update_one({"_id": "films"}, {"$set": {"token": ahead}})
    with hold(database, "run-3") as three:
        assert three.token == ahead + 1


@pytest.mark.parametrize("lost", [True, False])
def test_who_comes_after_a_lost_registry_may_write_over_what_was_written_before(
    in_time, database, lost: bool
):
    with hold(database, "run-1"):
        pass
    yesterday = database[COLLECTION].find_one({"_id": "films"})
    for n in range(3):
        with hold(database, f"today-{n}") as lease:
            assert write(open_writer(database, lease), f"of today, {n}") == 1
    database[COLLECTION].delete_one({"_id": "films"})
    if not lost:
        database[COLLECTION].insert_one(yesterday)
    with hold(database, "run-2") as lease:
        assert write(open_writer(database, lease), "of the day after") == 1
    assert database["vectors"].find_one({"_id": "a"})["text"] == "of the day after"


def milliseconds(database) -> int:
    return round(server_time(database[COLLECTION]).replace(tzinfo=UTC).timestamp() * 1000)
