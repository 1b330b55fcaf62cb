"""A PostgreSQL of the system's packages, in a folder of its own."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg2

from tests.servers import free_port


def binaries() -> Path | None:
    """The folder with `initdb` and `postgres`; Debian keeps it out of the path."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((each for each in places if (each / "postgres").exists()), None)


@contextmanager
def postgres(password: str) -> Iterator[str]:
    """`USER:PASSWORD@HOST:PORT/DATABASE` of an empty database; gone at the end."""
    folder = binaries()
    assert folder
    with tempfile.TemporaryDirectory(prefix="postgres-") as name:
        home, port = Path(name), free_port()
        (home / "password").write_text(password, "utf-8")
        somebody = _somebody(home)
        cluster = [
            str(folder / "initdb"), "--pgdata", str(home / "data"), "--username", "dagster",
            "--auth", "scram-sha-256", "--pwfile", str(home / "password"), "--no-sync",
        ]  # fmt: skip
        subprocess.run([*somebody, *cluster], check=True, stdout=subprocess.DEVNULL, cwd=home)
        options = ["-c", f"unix_socket_directories={home}", "-c", "fsync=off"]
        server = [str(folder / "postgres"), "-D", str(home / "data"), "-p", str(port), *options]
        log = (home / "log").open("wb")
        process = subprocess.Popen([*somebody, *server], stdout=log, stderr=log, cwd=home)
        try:
            yield _ready(port, password, process)
        finally:
            process.send_signal(signal.SIGINT)  # does not wait for connections that are left

            process.wait(timeout=120)
            log.close()


def _somebody(home: Path) -> Sequence[str]:
    """As whom the server runs: it refuses to be root's."""
    if os.geteuid() != 0:
        return []
    import pwd  # there is none on Windows

    who = pwd.getpwnam("nobody")
    for path in (home, home / "password"):
        os.chown(path, who.pw_uid, who.pw_gid)
    return ["setpriv", f"--reuid={who.pw_uid}", f"--regid={who.pw_gid}", "--clear-groups"]


def _ready(port: int, password: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        assert process.poll() is None, "PostgreSQL has ended"
        try:
            # The database of the user's own name is not made by initdb.
            with psycopg2.connect(
                host="127.0.0.1", port=port, user="dagster", password=password, dbname="postgres"
            ):
                return f"dagster:{password}@127.0.0.1:{port}/postgres"
        except psycopg2.OperationalError:
            time.sleep(0.1)
    raise TimeoutError("PostgreSQL does not answer")
