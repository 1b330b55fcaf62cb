"""The embedded server: SecantusDB's `secantusd-py`, shared by every process that names its folder.

It is GPL-2.0 and therefore always a process of its own, never an import.
"""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote_plus

import psutil
import pymongo
from filelock import FileLock, Timeout
from pymongo.errors import OperationFailure, PyMongoError

from resources.core.errors import DeploymentError
from resources.mongodb import embedded_files as files
from resources.mongodb import embedded_process as server
from resources.mongodb.deployment import AUTHENTICATION_FAILED, UNAUTHORIZED

USERNAME = "embeddings"
USER_NOT_FOUND = 11

# Ends the process it is given as soon as its standard input closes, which is when we die. By force:
# who asks for no password must not go on, and a server that is asked to end may take its time. Its
# journal has what was acknowledged.
_TETHER = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), 9)"


def ensure_running(folder: Path, *, timeout: float = 30.0) -> str:
    """The URI of the folder's server, with its password; starts the server if none is running.

    Raises:
        DeploymentError: The server cannot be started, or runs and does not answer in `timeout`.
    """
    folder = files.resolved(folder)
    deadline = time.monotonic() + timeout
    if uri := _reuse(folder, deadline):
        return uri
    binary = server.find_binary()
    with _locked(folder, deadline):
        return _reuse(folder, deadline) or _start(folder, binary, deadline)


def running(folder: Path) -> files.Endpoint | None:
    """What serves the folder now, as far as its endpoint file tells; starts nothing."""
    folder = files.resolved(folder)
    endpoint = files.read_endpoint(folder)
    return endpoint if endpoint and server.process_of(endpoint, folder) else None


def stop(folder: Path, *, timeout: float = 20.0) -> bool:
    """True if a server was stopped. One that ignores SIGTERM for `timeout` seconds is killed."""
    folder = files.resolved(folder)
    if not os.path.isdir(folder / files.DATA):
        return False  # no server has ever been here, and a lock would make the folder
    with _locked(folder, time.monotonic() + timeout):
        endpoint = files.read_endpoint(folder)
        process = server.process_of(endpoint, folder) if endpoint else None
        if process is not None:
            server.end(process, timeout)
        (folder / files.ENDPOINT).unlink(missing_ok=True)
        return process is not None


@contextmanager
def _locked(folder: Path, deadline: float) -> Iterator[None]:
    """The right to start and stop; turns what goes wrong meanwhile into one sentence."""
    log = folder / files.LOG
    try:
        files.prepare(folder)
        with FileLock(folder / files.LOCK, timeout=max(0.0, deadline - time.monotonic())):
            yield
    except Timeout as error:
        raise DeploymentError(
            f"Another process is still starting or stopping the embedded MongoDB server in "
            f"{folder}; see {log}."
        ) from error
    except OSError as error:
        raise DeploymentError(
            f"The folder {folder} cannot hold the embedded MongoDB server: "
            f"{error.strerror or error}."
        ) from error
    except (PyMongoError, psutil.Error) as error:
        raise DeploymentError(
            f"The embedded MongoDB server could not be set up ({error}); see {log}."
        ) from error


# ---------------------------------------------------------------- finding the one that runs


def _reuse(folder: Path, deadline: float) -> str | None:
    """The URI of a server that answers; None if one has to be started (or its password renewed)."""
    endpoint, password = running(folder), files.read_password(folder)
    if endpoint is None or password is None:
        return None
    uri = _uri(endpoint.port, password)
    patience = 1.0  # short at first: a server that ends right now should not cost the whole timeout
    while True:
        left = deadline - time.monotonic()
        try:
            return uri if _accepts(uri, max(1.0, min(patience, left))) else None
        except PyMongoError as error:
            if running(folder) != endpoint:
                return None
            if time.monotonic() >= deadline:
                raise DeploymentError(
                    f"The embedded MongoDB server (process {endpoint.pid}) is alive but does not "
                    f"answer on {server.HOST}:{endpoint.port}; see {folder / files.LOG}, or end "
                    f"that process."
                ) from error
            time.sleep(0.05)
            patience *= 2


def _accepts(uri: str, seconds: float) -> bool:
    """False if the server refuses the password; raises if it does not answer in time."""
    milliseconds = max(1, int(seconds * 1000))
    client: pymongo.MongoClient = pymongo.MongoClient(
        uri, serverSelectionTimeoutMS=milliseconds, connectTimeoutMS=milliseconds
    )
    try:
        with pymongo.timeout(seconds):
            # `ping` itself needs no login; the driver logs in because the URI has a user
            client.admin.command("ping")
        return True
    except OperationFailure as error:
        if error.code not in (AUTHENTICATION_FAILED, UNAUTHORIZED):
            raise
        return False
    finally:
        client.close()


# ---------------------------------------------------------------- starting one (under the lock)


def _start(folder: Path, binary: str, deadline: float) -> str:
    password = files.read_password(folder)
    # Left by a starter that was killed, or by a lost endpoint file. The storage admits one server,
    # so each is either taken over or ended.
    for process in server.servers(folder):
        with suppress(PyMongoError, psutil.Error):
            port = server.port_of(process) if "--auth" in process.cmdline() else None
            if port and password and _accepts(_uri(port, password), 5.0):
                return _record(folder, process, port, password)
        server.end(process, 10.0)

    for provision in (password is None, True):
        if provision:
            password = _provision(folder, binary, deadline)
        assert password is not None
        child = server.spawn(folder, binary, auth=True)
        try:
            process, port = server.wait_for_port(child, folder, deadline)
            if _accepts(_uri(port, password), max(1.0, deadline - time.monotonic())):
                return _record(folder, process, port, password)
        except BaseException:
            server.end_child(child)
            raise
        server.end_child(child)
    raise DeploymentError(
        f"The embedded MongoDB server refuses the password it was given; see {folder / files.LOG}."
    )


def _provision(folder: Path, binary: str, deadline: float) -> str:
    """Gives the server's user a new password; returns it. Data stays as it is.

    The password is on disk before the server knows it: dying in between leaves a password that
    the server refuses, and the next start comes here again.
    """
    password = secrets.token_urlsafe(32)
    files.write_password(folder, password)
    # The server makes no exception for the first user on localhost: users are made while it runs
    # without authentication. For that second another user of this machine could connect to it
    # and, for one, make a user for himself. The window cannot be closed from the outside; it is
    # kept small: a port nobody knows, nothing but this one command, and an end of the server even
    # if we are killed meanwhile. On a first start there is no data to be read yet.
    child = server.spawn(folder, binary, auth=False)
    tether = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TETHER, str(child.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _, port = server.wait_for_port(child, folder, deadline)
        client: pymongo.MongoClient = pymongo.MongoClient(
            server.HOST, port, directConnection=True, serverSelectionTimeoutMS=10_000
        )
        try:
            client.admin.command("updateUser", USERNAME, pwd=password, roles=["root"])
        except OperationFailure as error:
            if error.code != USER_NOT_FOUND:
                raise
            client.admin.command("createUser", USERNAME, pwd=password, roles=["root"])
        finally:
            client.close()
    finally:
        tether.kill()
        tether.communicate()
        server.end_child(child)
    return password


def _record(folder: Path, process: psutil.Process, port: int, password: str) -> str:
    endpoint = files.Endpoint(process.pid, port, process.create_time(), USERNAME)
    files.write_endpoint(folder, endpoint)
    return _uri(port, password)


def _uri(port: int, password: str) -> str:
    login = f"{quote_plus(USERNAME)}:{quote_plus(password)}"
    return f"mongodb://{login}@{server.HOST}:{port}/?authSource=admin&directConnection=true"
