"""The folder of an embedded server, closed to other users.

It holds

    endpoint.json    which process serves, on which port; written only once it answers
    password         of the one user; readable by its owner only
    data/            the server's storage
    server.log       both streams of the server (server.log.1: the one before)
    server.lock      held by whoever starts or stops the server
    secantusd.toml   empty; without it the server would read one from the user's home or /etc
"""

import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from resources.core.errors import DeploymentError
from resources.core.private import make_private

ENDPOINT, PASSWORD, DATA, LOG = "endpoint.json", "password", "data", "server.log"
LOCK, CONFIG = "server.lock", "secantusd.toml"


@dataclass(frozen=True)
class Endpoint:
    pid: int
    port: int
    started: float  # psutil's create_time: the pid may since belong to another process
    username: str


def resolved(folder: Path) -> Path:
    """One spelling for every process: the folder is recognised in the server's command line."""
    return folder.expanduser().resolve()


def prepare(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise DeploymentError(f"The embedded MongoDB server needs a folder: {folder} is a file.")
    make_private(folder)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        # Closing somebody's home or /tmp to everyone else would be worse than not starting.
        if any(folder.iterdir()) and not (folder / DATA).is_dir():
            raise DeploymentError(
                f"The folder {folder} is open to other users and holds other files: name a new or "
                f"an empty folder for the embedded MongoDB server."
            )
        folder.chmod(0o700)
    (folder / DATA).mkdir(mode=0o700, exist_ok=True)


def read_endpoint(folder: Path) -> Endpoint | None:
    try:
        found = json.loads((folder / ENDPOINT).read_text("utf-8"))
        return Endpoint(
            int(found["pid"]), int(found["port"]), float(found["started"]), str(found["username"])
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None  # none yet, or damaged: the start replaces it


def write_endpoint(folder: Path, endpoint: Endpoint) -> None:
    _write(folder / ENDPOINT, json.dumps(asdict(endpoint)))


def read_password(folder: Path) -> str | None:
    try:
        return (folder / PASSWORD).read_text("ascii").strip() or None
    except (OSError, ValueError):
        return None


def write_password(folder: Path, password: str) -> None:
    _write(folder / PASSWORD, password)


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
