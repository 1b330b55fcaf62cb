"""The embedded server against the real `secantusd-py`: every test starts and kills processes."""

import json
import os
import signal
import stat
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pymongo
import pytest
from filelock import FileLock
from pymongo.errors import OperationFailure

from resources.core.errors import DeploymentError
from resources.core.paths import CODE_ROOT
from resources.mongodb import embedded
from resources.mongodb import embedded_files as files
from resources.mongodb import embedded_process as server
from tests import servers

pytestmark = pytest.mark.skipif(servers.secantus() is None, reason="pip install '.[embedded]'")

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and file modes")

START = "import sys, pathlib; from resources.mongodb import embedded\n"
START += "print(embedded.ensure_running(pathlib.Path(sys.argv[1])))"

# A starter that stands still where it would make the user.
STUCK = "import sys; from pymongo.synchronous.database import Database\n"
STUCK += "def stuck(*given, **options):\n print('stuck', flush=True); sys.stdin.read()\n"
STUCK += "Database.command = stuck\n" + START


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "embedded server"
    yield folder
    clean_up(folder)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A server for the tests that only look at it."""
    folder = tmp_path_factory.mktemp("served")
    yield folder, embedded.ensure_running(folder)
    clean_up(folder)


def clean_up(folder: Path) -> None:
    for process in server.servers(folder):
        process.kill()
        wait_until(lambda process=process: not server.alive(process))


def wait_until(condition: Callable[[], object], seconds: float = 200.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def starter(
    folder: Path, python: str = sys.executable, code: str = START, **changes: str
) -> subprocess.Popen[str]:
    """Another process of the project."""
    path = os.pathsep.join([str(CODE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [python, "-c", code, str(folder)],
        cwd=folder.parent,
        env={**os.environ, "PYTHONPATH": path, **changes},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    return out.strip()


def pid_of(folder: Path) -> int:
    endpoint = embedded.running(folder)
    assert endpoint is not None
    return endpoint.pid


def insert(uri: str, value: object) -> None:
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=60_000) as client:
        client.shop.things.insert_one({"value": value})


def values(uri: str) -> list[object]:
    with pymongo.MongoClient(uri, serverSelectionTimeoutMS=60_000) as client:
        return [document["value"] for document in client.shop.things.find()]


# ---------------------------------------------------------------- one server for everybody


def test_it_is_reused(served: tuple[Path, str]) -> None:
    folder, uri = served
    pid = pid_of(folder)
    assert [embedded.ensure_running(folder) for _ in range(5)] == [uri] * 5
    assert pid_of(folder) == pid


def test_one_of_another_process_outlives_it(folder: Path) -> None:
    """Started from a folder, and for a user, whose own secantusd.toml would not even parse."""
    home = folder.parent / "home"
    for place in (folder.parent, home / ".secantus"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "secantusd.toml").write_text("not TOML")
    uri = said(starter(folder, HOME=str(home)))
    assert embedded.ensure_running(folder) == uri
    insert(uri, 1)
    assert said(starter(folder)) == uri
    if os.name == "posix":
        pid = pid_of(folder)
        assert os.getsid(pid) == pid  # Ctrl-C in a terminal does not reach it
    # a relative path and a link lead to the same server
    (folder.parent / "link").symlink_to(folder, target_is_directory=True)
    assert embedded.ensure_running(folder.parent / "link") == uri
    assert len(list(server.servers(folder))) == 1


def test_four_starters_end_with_one_server(folder: Path) -> None:
    uris = [said(process) for process in [starter(folder) for _ in range(4)]]
    assert len(set(uris)) == 1
    assert [process.pid for process in server.servers(folder)] == [pid_of(folder)]
    insert(uris[0], 1)


def test_stop_twice_and_start_again(folder: Path) -> None:
    assert embedded.stop(folder) is False
    assert not folder.exists()
    insert(embedded.ensure_running(folder), "kept")
    process = psutil.Process(pid_of(folder))
    assert embedded.stop(folder) is True
    assert embedded.stop(folder) is False
    assert embedded.running(folder) is None
    wait_until(lambda: not process.is_running())  # no zombie of ours either
    assert not list(server.servers(folder))
    assert values(embedded.ensure_running(folder)) == ["kept"]


# ---------------------------------------------------------------- healing


def test_killed_it_is_started_again_with_its_data(folder: Path) -> None:
    uri = embedded.ensure_running(folder)
    process = psutil.Process(pid_of(folder))
    with pymongo.MongoClient(uri) as client:
        client.shop.things.insert_one({"value": "kept"})
        process.kill()  # at once: what was acknowledged is on disk
    wait_until(lambda: not process.is_running())
    assert embedded.running(folder) is None
    uri = embedded.ensure_running(folder)
    assert values(uri) == ["kept"]
    assert pid_of(folder) != process.pid


def test_a_pid_that_is_someone_elses_now(folder: Path) -> None:
    """After a reboot: the endpoint file is left, its pid runs something that must be left alone."""
    folder.mkdir(mode=0o700)
    (folder / "data").mkdir()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(6000)"])
    try:
        stale = {"pid": other.pid, "port": 1, "started": 1.0, "username": "embeddings"}
        (folder / "endpoint.json").write_text(json.dumps(stale))
        assert embedded.running(folder) is None
        assert embedded.stop(folder) is False
        (folder / "endpoint.json").write_text(json.dumps(stale))
        insert(embedded.ensure_running(folder), 1)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_damaged_or_lost_endpoint_file_finds_the_server_again(folder: Path) -> None:
    uri = embedded.ensure_running(folder)
    pid = pid_of(folder)
    half = {"pid": pid, "started": 1}
    for damage in (b"", b"{", b"[]", b"\xff\x00", json.dumps(half).encode(), b'{"pid": 1e999}'):
        (folder / "endpoint.json").write_bytes(damage)
        assert embedded.running(folder) is None
        assert embedded.ensure_running(folder) == uri
        assert pid_of(folder) == pid
    # a negative pid, a clock that was set, and no file at all
    for change in ({"pid": -1}, {"started": 1.0}):
        endpoint = json.loads((folder / "endpoint.json").read_text())
        (folder / "endpoint.json").write_text(json.dumps(endpoint | change))
        assert embedded.ensure_running(folder) == uri
    (folder / "endpoint.json").unlink()
    assert embedded.ensure_running(folder) == uri
    assert pid_of(folder) == pid


@pytest.mark.proof
@pytest.mark.parametrize("alive", [True, False])
def test_a_lost_or_wrong_password_is_renewed_and_the_data_stays(folder: Path, alive: bool) -> None:
    old = embedded.ensure_running(folder)
    insert(old, "kept")
    if not alive:
        embedded.stop(folder)
    (folder / "password").unlink()
    renewed = embedded.ensure_running(folder)
    assert renewed.split("@")[0] != old.split("@")[0]
    assert values(renewed) == ["kept"]
    (folder / "password").write_text("wrong")
    assert values(embedded.ensure_running(folder)) == ["kept"]
    assert len(list(server.servers(folder))) == 1


@pytest.mark.proof
@posix
def test_killed_while_making_the_user(folder: Path) -> None:
    """The server that asks for no password ends with its starter, and the next start is whole."""
    process = starter(folder, code=STUCK)
    assert process.stdout
    assert process.stdout.readline() == "stuck\n"
    (opened,) = server.servers(folder)
    assert "--auth" not in opened.cmdline()
    process.kill()
    process.communicate()
    wait_until(lambda: not server.alive(opened))
    uri = embedded.ensure_running(folder)
    insert(uri, 1)
    (now,) = server.servers(folder)
    assert "--auth" in now.cmdline()


@pytest.mark.proof
@posix
def test_an_open_server_left_behind_is_not_taken_over(folder: Path) -> None:
    insert(embedded.ensure_running(folder), "kept")
    embedded.stop(folder)
    child = server.spawn(folder, server.find_binary(), auth=False)
    server.wait_for_port(child, folder, time.monotonic() + 200)
    assert values(embedded.ensure_running(folder)) == ["kept"]
    assert pid_of(folder) != child.pid
    assert child.wait(200) is not None


# ---------------------------------------------------------------- who may enter


def test_only_the_password_opens_it(served: tuple[Path, str]) -> None:
    folder, uri = served
    endpoint = embedded.running(folder)
    assert endpoint is not None
    with (
        pymongo.MongoClient("127.0.0.1", endpoint.port, directConnection=True) as anonymous,
        pytest.raises(OperationFailure) as refused,
    ):
        anonymous.shop.things.insert_one({})
    assert refused.value.code == 13
    password = (folder / "password").read_text()
    assert len(password) >= 43
    with (
        pymongo.MongoClient(uri.replace(password, "guess")) as guessing,
        pytest.raises(OperationFailure) as refused,
    ):
        guessing.shop.things.insert_one({})
    assert refused.value.code == 18
    assert password not in (folder / "server.log").read_text()
    assert password not in " ".join(psutil.Process(pid_of(folder)).cmdline())


@posix
def test_its_files_are_its_owners_only(served: tuple[Path, str]) -> None:
    folder, _ = served
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    for name in ("password", "endpoint.json"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    assert not list(folder.glob(".password-*"))


@posix
def test_a_permissive_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.prepare(tmp_path / "new")
        files.write_password(tmp_path / "new", "secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "password").stat().st_mode) == 0o600


def test_it_listens_on_the_loopback_only(served: tuple[Path, str]) -> None:
    folder, _ = served
    endpoint = embedded.running(folder)
    assert endpoint is not None
    listening = [
        (connection.laddr.ip, connection.laddr.port)
        for connection in psutil.Process(endpoint.pid).net_connections(kind="all")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert listening == [("127.0.0.1", endpoint.port)]


# ---------------------------------------------------------------- what cannot work says why


@posix
def test_a_server_that_hangs_is_named_and_can_be_stopped(folder: Path) -> None:
    uri = embedded.ensure_running(folder)
    process = psutil.Process(pid_of(folder))
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(DeploymentError, match=r"alive but does not answer.*server\.log"):
        embedded.ensure_running(folder, timeout=1.5)
    process.send_signal(signal.SIGCONT)
    assert embedded.ensure_running(folder) == uri
    process.send_signal(signal.SIGSTOP)
    assert embedded.stop(folder, timeout=0.3) is True
    assert not server.alive(process)


def test_a_server_that_dies_says_its_last_words(folder: Path) -> None:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "WiredTiger").mkdir()  # a file where the storage is whole
    with (folder / "server.log").open("wb") as log:
        log.truncate(server.LOG_LIMIT + 1)
    with pytest.raises(DeploymentError) as raised:
        embedded.ensure_running(folder)
    last = (folder / "server.log").read_text().strip().splitlines()[-1]
    assert not last.startswith("---")
    assert last in str(raised.value)
    assert (folder / "server.log.1").stat().st_size > server.LOG_LIMIT
    assert (folder / "server.log").stat().st_size < server.LOG_LIMIT


def test_a_busy_lock_is_waited_for_no_longer_than_asked(folder: Path) -> None:
    files.prepare(folder)
    with (
        FileLock(folder / "server.lock"),
        pytest.raises(DeploymentError, match="Another process is still starting"),
    ):
        embedded.ensure_running(folder, timeout=0.2)


def test_a_folder_that_cannot_be_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(DeploymentError, match="is a file"):
        embedded.ensure_running(file)
    with pytest.raises(DeploymentError, match="cannot hold"):
        embedded.ensure_running(file / "folder")
    assert embedded.running(file) is None
    assert embedded.stop(file) is False


@posix
def test_a_shared_folder_is_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    (shared / "somebody's file").write_text("")
    with pytest.raises(DeploymentError, match="open to other users"):
        embedded.ensure_running(shared)
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755


@posix
def test_without_its_package(tmp_path: Path) -> None:
    """From a virtual environment without `secantusd-py`; the libraries come from ours."""
    command = [sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(command, check=True)
    libraries = [sysconfig.get_path("purelib"), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = starter(
        tmp_path / "server",
        python=str(tmp_path / "venv" / "bin" / "python"),
        PYTHONPATH=os.pathsep.join([str(CODE_ROOT), *libraries]),
        PATH="/usr/bin:/bin",
    )
    _, error = process.communicate(timeout=200)
    assert "package is missing: run `pip install SecantusDB`" in error
    assert "deployment: {server: {uri: {env: MONGODB_URI}}}" in error
    assert not (tmp_path / "server").exists()
