"""What commands leave behind: closed to the machine's other users, and without a secret."""

import base64
import http.server
import json
import os
import secrets
import sqlite3
import stat
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pyarrow.parquet as pq
import pymongo
import pytest

from pipelines.framework.instance import project_instance
from resources.mongodb import embedded
from tests import servers
from tests.pipelines.helpers import MOTH, SHOP, Place, embeddings, refuses, succeeds, write_config

SECRET = f"s3kret/+{secrets.token_hex(8)}"
ESCAPED = quote(SECRET, safe="")


@pytest.fixture(scope="module", autouse=True)
def umask() -> Iterator[None]:
    """Everybody may do everything, unless we say otherwise."""
    before = os.umask(0o000)
    yield
    os.umask(before)


@pytest.fixture(scope="module")
def website(place: Place) -> Iterator[str]:
    """Serves the documents to whoever has the password and the signature; else 404."""
    login = base64.b64encode(f"ada:{SECRET}".encode()).decode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Authorization") == f"Basic {login}"
            asked = urlsplit(self.path)
            if known and "documents" in asked.path and parse_qs(asked.query)["sig"] == [SECRET]:
                self._answer(200, place.source.read_bytes())
            else:
                self._answer(404, b"")

        do_HEAD = do_PUT = do_POST = do_GET

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"ada:{ESCAPED}@127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def config(place: Place, **resources: Any) -> str:
    return write_config(place.folder / f"{secrets.token_hex(4)}.yaml", **resources)


def kept(place: Place) -> Iterator[tuple[str, bytes]]:
    """All that is stored: every file, what lies compressed in some, and the whole deployment."""
    for file in (place.folder / "state").rglob("*"):
        if not file.is_file() or "mongodb" in file.parts:  # the server's own: read by its client
            continue
        yield str(file), file.read_bytes()
        if file.suffix == ".parquet":
            yield str(file), repr(pq.read_table(file).to_pylist()).encode()
        if file.name == "runs.db":
            with sqlite3.connect(file) as database:
                for (body,) in database.execute("SELECT snapshot_body FROM snapshots"):
                    yield f"a snapshot in {file}", zlib.decompress(body)
    client: pymongo.MongoClient = pymongo.MongoClient(
        embedded.ensure_running(place.folder / "state" / "mongodb")
    )
    with client:
        for database in set(client.list_database_names()) - {"admin", "local", "config"}:
            for name in client[database].list_collection_names():
                yield f"{database}.{name}", repr(client[database][name].find().to_list()).encode()


def assert_nowhere(place: Place, *outputs: str) -> None:
    login = base64.b64encode(f"ada:{SECRET}".encode())
    spellings = (SECRET.encode(), ESCAPED.encode(), login)
    told = [("the output", output.encode()) for output in outputs]
    shown = [where for where, found in (*told, *kept(place)) if any(s in found for s in spellings)]
    assert shown == []


def test_nobody_else_gets_in(place: Place, first_run: str):
    state = place.folder / "state"
    succeeds("search", SHOP, MOTH)
    assert {path.name for path in state.iterdir()} == {"batch_store", "dagster", "mongodb"}
    made = [state, *state.rglob("*")]
    assert len(made) > 40

    def closed(path: Path) -> bool:
        mode = stat.S_IMODE(path.lstat().st_mode)
        return not mode & 0o077 or (path != state and closed(path.parent))

    assert [path for path in made if not closed(path)] == []
    for folder in (state, *state.iterdir()):  # each of them, if it is moved elsewhere
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_runs_that_changed_nothing_are_forgotten(place: Place, first_run: str):
    for _ in range(2):
        succeeds("run", SHOP)
    assert succeeds("maintain", SHOP) == "runs removed: 0; freed: 0.0 MB\n", "younger than a month"
    idle, told = succeeds("maintain", SHOP, "--keep-days", "0", "--dry-run").splitlines()
    assert told == "runs that would go: 1"
    with project_instance() as instance:
        before = {run.run_id for run in instance.get_runs()}
    assert idle in before
    told = json.loads(succeeds("maintain", SHOP, "--keep-days", "0", "--json"))
    assert told["runs"] == [idle]
    assert told["bytes"] > 100_000
    with project_instance() as instance:
        assert {run.run_id for run in instance.get_runs()} == before - {idle}
    assert MOTH in succeeds("search", SHOP, MOTH)


def test_doctor_says_who_else_gets_in(place: Place, first_run: str, open_place: Path):
    assert "closed to other users of this machine" in succeeds("doctor", SHOP)
    (open_place / "mine").mkdir(mode=0o755)
    store = config(place, batch_store={"url": str(open_place / "mine")})
    told = succeeds("doctor", SHOP, "-c", store)
    assert f"everybody on this machine gets into {open_place / 'mine'}" in told
    assert f"chmod o= {open_place / 'mine'}" in told
    (open_place / "mine").chmod(0o750)
    told = succeeds("doctor", SHOP, "-c", store)
    assert f"a group gets into {open_place / 'mine'}" in told


def test_credentials_that_a_run_uses_are_kept_nowhere(
    place: Place, first_run: str, website: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("ANY_PLACE", f"memory://ada:{ESCAPED}@bucket/x")
    monkeypatch.setenv("ANY_SOURCE", f"http://{website}/documents.jsonl?sig={ESCAPED}")
    chosen = config(
        place,
        batch_store={"url": {"env": "ANY_PLACE"}},
        source={"origin": {"jsonl": {"path": {"env": "ANY_SOURCE"}}}},
        vector_store={"collection": "elsewhere"},
    )
    outputs = []
    for command in (
        ["run", SHOP, "-c", chosen],
        ["search", SHOP, MOTH, "--explain", "--json", "-c", chosen],
        ["audit", SHOP, "-c", chosen],
        ["lineage", SHOP, "-c", chosen],
        ["plan", SHOP, "-c", chosen],
        ["doctor", SHOP, "-c", chosen],
    ):
        result = embeddings(*command)
        assert result.exit_code == 0, result.output
        outputs.append(result.output)
    assert "memory://bucket/x" in outputs[-1]
    assert_nowhere(place, *outputs)


CLOSED = servers.free_port()

FAILING: dict[str, dict[str, Any]] = {
    "a store that takes nothing": {"batch_store": {"url": "http://{website}/x"}},
    "a store that is not there": {"batch_store": {"url": f"ftp://{{login}}@127.0.0.1:{CLOSED}/x"}},
    "a store of no kind": {"batch_store": {"url": "nosuch://{login}@bucket/x"}},
    "a chained store": {"batch_store": {"url": "simplecache::http://{website}/x"}},
    "a source that is not there": {
        "source": {"origin": {"jsonl": {"path": "http://{website}/gone.jsonl?sig={secret}"}}}
    },
    "a source with a wrong login": {
        "source": {"origin": {"csv": {"path": "ftp://{login}@127.0.0.1:1/gone.csv"}}}
    },
    "a provider": {
        "embedder": {
            "provider": {
                "openai": {
                    "base_url": f"http://{{login}}@127.0.0.1:{CLOSED}/v1?key={{secret}}",
                    "api_key": "{secret}",
                    "dimensions": 8,
                    "attempts": 1,
                }
            }
        }
    },
    "a provider without an address": {
        "embedder": {
            "provider": {
                "voyage": {"base_url": "http://{login}@host:bad/v1", "api_key": "{secret}"}
            }
        }
    },
    "a deployment": {
        "mongodb": {
            "deployment": {"server": {"uri": f"mongodb://{{login}}@127.0.0.1:{CLOSED}/"}},
            "timeout_seconds": 0.3,
        }
    },
    "a deployment with a bad port": {
        "mongodb": {"deployment": {"server": {"uri": "mongodb://{login}@127.0.0.1:bad/"}}}
    },
    "an unescaped password": {
        "mongodb": {"deployment": {"server": {"uri": f"mongodb://ada:{SECRET}@127.0.0.1/"}}}
    },
}


QUICK = ("a store that takes nothing", "a provider", "an unescaped password")


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(settings, id=name, marks=[] if name in QUICK else [pytest.mark.proof])
        for name, settings in FAILING.items()
    ],
)
def test_credentials_are_in_no_error(
    place: Place,
    first_run: str,
    website: str,
    settings: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
):
    """Those in clear are refused; those of the environment fail without being shown."""
    known = {"website": website, "login": f"ada:{ESCAPED}", "secret": ESCAPED}

    def in_clear(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: in_clear(inner) for name, inner in value.items()}
        return value.format(**known) if isinstance(value, str) else value

    variables = iter(range(9))

    def from_outside(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: from_outside(inner) for name, inner in value.items()}
        if (isinstance(value, str) and "{" in value) or value == settings_with_secret(value):
            name = f"SETTING_{next(variables)}"
            monkeypatch.setenv(name, value.format(**known))
            return {"env": name}
        return value

    def settings_with_secret(value: Any) -> Any:
        return value if isinstance(value, str) and SECRET in value else object()

    sentence = refuses("run", SHOP, "-c", config(place, **in_clear(settings)))
    assert "{env: " in sentence, "the way out"
    chosen = config(place, **from_outside(settings))
    outputs = [sentence, *(embeddings(*command, "-c", chosen).output for command in (
        ["run", SHOP], ["search", SHOP, MOTH], ["doctor", SHOP]
    ))]  # fmt: skip
    assert "error" in outputs[1]
    assert "Traceback" not in outputs[1]
    assert_nowhere(place, *outputs)
