"""The process of an embedded server: finding it, starting it, waiting for its port, ending it."""

import os
import shutil
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from resources.core.errors import DeploymentError
from resources.mongodb.embedded_files import CONFIG, DATA, LOG, Endpoint

HOST = "127.0.0.1"
LOG_LIMIT = 8 * 1024 * 1024


def process_of(endpoint: Endpoint, folder: Path) -> psutil.Process | None:
    try:
        process = psutil.Process(endpoint.pid)
        # Linux derives the create time from the wall clock, which may be set: hence the tolerance,
        # and the command line as a second proof.
        known = abs(process.create_time() - endpoint.started) < 1.0 or _serves(process, folder)
        return process if known and alive(process) else None
    except (psutil.Error, ValueError):
        return None


def servers(folder: Path) -> Iterator[psutil.Process]:
    """Servers of this folder by their command line: a lost endpoint file does not hide them."""
    for process in psutil.process_iter():
        try:
            if _serves(process, folder) and alive(process):
                yield process
        except psutil.Error:
            continue


def _serves(process: psutil.Process, folder: Path) -> bool:
    arguments = process.cmdline()
    return ("--storage-path", str(folder / DATA)) in pairwise(arguments)


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def port_of(process: psutil.Process) -> int | None:
    # On Windows a script's process is a launcher: Python itself is its child.
    family = [process, *process.children(recursive=True)] if os.name == "nt" else [process]
    for member in family:
        for connection in member.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN:
                return connection.laddr.port
    return None


def find_binary() -> str:
    name = "secantusd-py"
    found = shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name)
    if found is None:
        raise DeploymentError(
            "The embedded MongoDB server's package is missing: run `pip install SecantusDB`, or "
            "name a server of your own with `deployment: {server: {uri: {env: MONGODB_URI}}}`."
        )
    return found


def spawn(folder: Path, binary: str, *, auth: bool) -> subprocess.Popen[bytes]:
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


def wait_for_port(
    child: subprocess.Popen[bytes], folder: Path, deadline: float
) -> tuple[psutil.Process, int]:
    """Waits for the port; the system chose it, so nobody else can take it before the server."""
    while time.monotonic() < deadline:
        try:
            process = psutil.Process(child.pid)
            if port := port_of(process):
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


def end_child(child: subprocess.Popen[bytes]) -> None:
    with suppress(psutil.NoSuchProcess):  # ended, and waited for, already
        end(psutil.Process(child.pid), 10.0)


def end(process: psutil.Process, seconds: float) -> None:
    """SIGTERM, then SIGKILL. A zombie counts as ended: its parent may take its time."""
    port = None
    with suppress(psutil.NoSuchProcess):
        port = port_of(process)
    for signal, patience in ((process.terminate, seconds), (process.kill, 5.0)):
        asked = 0.0
        until = time.monotonic() + patience
        while (now := time.monotonic()) < until:
            if not alive(process):
                return
            with suppress(psutil.NoSuchProcess, OSError):
                if not asked or (now - asked > 0.5 and port_of(process)):
                    # Again while it listens: a SIGTERM that one of its other threads receives
                    # does not wake its main thread, and is forgotten.
                    signal()
                    asked = now
                elif port and not port_of(process):
                    # It has closed its port, and waits two seconds for a thread that still sits in
                    # accept(): a connection wakes that one. Any earlier, and that thread, busy
                    # with our connection, may receive the signal.
                    socket.create_connection((HOST, port), timeout=0.1).close()
            time.sleep(0.02)
    raise DeploymentError(f"The embedded MongoDB server (process {process.pid}) cannot be ended.")
