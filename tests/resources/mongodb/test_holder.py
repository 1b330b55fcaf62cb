"""A lease is taken from a process that is certainly gone, and from no other."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import psutil
import pytest

from resources.core.errors import LeaseError
from resources.core.lane import Lane
from resources.mongodb.holder import Holder
from resources.mongodb.lease import COLLECTION, held

HERE = Holder.here("run-1")
FILMS = Lane("films", "space-a")


@pytest.fixture
def gone() -> Holder:
    """A holder whose process has ended, on this machine."""
    code = (
        "import dataclasses, json; from resources.mongodb.holder import Holder; "
        "print(json.dumps(dataclasses.asdict(Holder.here('run-1'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return Holder(**json.loads(done.stdout))


def test_a_process_that_has_ended_has_died_and_one_that_runs_has_not(gone):
    assert gone.died()
    assert not HERE.died()


def test_another_process_with_the_same_pid_is_not_the_holder():
    assert HERE.started is not None
    assert dataclasses.replace(HERE, started=HERE.started - 1).died()


@pytest.mark.parametrize("value", [None, "another"])
@pytest.mark.parametrize("name", ["host", "boot", "namespace"])
def test_nothing_is_concluded_from_afar(gone, name, value):
    assert not dataclasses.replace(gone, **{name: value}).died()


@pytest.mark.parametrize("name", ["pid", "started"])
def test_nothing_is_concluded_from_what_was_not_known(gone, name):
    assert not dataclasses.replace(gone, **{name: None}).died()


@pytest.mark.parametrize("function", ["_boot", "_namespace"])
def test_nothing_is_concluded_where_this_process_cannot_tell(gone, function, monkeypatch):
    monkeypatch.setattr(f"resources.mongodb.holder.{function}", lambda: None)
    assert not gone.died()
    assert not dataclasses.replace(gone, boot=None, namespace=None).died()


def test_a_lease_of_an_earlier_version_waits_for_its_term():
    before = {"run": "run-1", "host": HERE.host, "pid": 2**22 + 1, "started": 1.7e9}
    assert not Holder.of(before).died()


def test_a_clock_that_is_set_kills_nobody(monkeypatch):
    if not sys.platform.startswith("linux"):
        pytest.skip("only Linux says when a process started without the clock")
    monkeypatch.setattr(psutil, "boot_time", lambda: 0.0)
    assert Holder.here("run-1") == HERE
    assert not HERE.died()


def test_a_process_that_proc_hides_is_alive(monkeypatch):
    monkeypatch.setattr("resources.mongodb.holder._started", lambda pid: None)
    assert not HERE.died()


def test_a_process_of_another_user_is_alive(monkeypatch):
    def refused(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    assert not HERE.died()


HOLD = """
import sys
from pymongo import MongoClient
from resources.core.lane import Lane
from resources.mongodb.lease import held
client = MongoClient(sys.argv[1])
with held(client, sys.argv[2], Lane("films", "space-a"), "run-1", seconds=600, wait_seconds=0):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_holder_in_another_pid_namespace_keeps_its_lease(database):
    unshare = shutil.which("unshare")
    command = [unshare or "", "--pid", "--fork", "--mount-proc"]
    tried = unshare and subprocess.run([*command, "true"], capture_output=True, check=False)
    if not tried or tried.returncode:
        pytest.skip("no pid namespace can be made here: it takes Linux, `unshare` and root")
    uri = database.client.address
    arguments = [f"mongodb://{uri[0]}:{uri[1]}/?directConnection=true", database.name]
    child = subprocess.Popen(
        [*command, sys.executable, "-c", HOLD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout
    assert child.stdout.readline() == "held\n"
    entry = database[COLLECTION].find_one({"_id": "films"})
    holder = Holder.of(entry)
    assert holder.host == HERE.host
    assert holder.boot == HERE.boot
    assert holder.namespace != HERE.namespace
    assert holder.pid == 1, "which is another process here"
    with (
        pytest.raises(LeaseError, match="run-1"),
        held(database.client, database.name, FILMS, "run-2", seconds=30, wait_seconds=0),
    ):
        pytest.fail("run-1 is at work")
    child.communicate("")
    with held(database.client, database.name, FILMS, "run-2", seconds=30, wait_seconds=0) as one:
        assert one.token > entry["token"]
