"""Dagster as deploy/ has it, without containers: its own commands, its dagster.yaml, PostgreSQL."""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import psycopg2
import pymongo
import pytest
import yaml

from pipelines.framework.instance import project_instance
from resources.core.errors import ConfigurationError
from resources.core.paths import CODE_ROOT
from tests.pipelines.helpers import KEYS, script, succeeds, write_config
from tests.postgres import binaries, postgres
from tests.servers import free_port

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(binaries() is None, reason="no PostgreSQL: apt-get install postgresql"),
    pytest.mark.skipif(os.name != "posix", reason="its server runs as another user"),
]

DEPLOY = CODE_ROOT / "deploy"
PATIENCE = 300
TABLES = ("runs", "event_logs", "asset_keys")


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with postgres("letters8and9digits") as where:
        yield where


@pytest.fixture
def home(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME that holds deploy/dagster.yaml, as every container's does."""
    folder = tmp_path / "dagster"
    folder.mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", folder)
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", f"postgresql+psycopg2://{database}")
    monkeypatch.setenv("DAGSTER_COMPUTE_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("EMBEDDINGS_HOME", str(tmp_path / "state"))
    return folder


@contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    """Ended with all that it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [script(command[0]), *command[1:]], cwd=CODE_ROOT, stdout=output, stderr=output
        )
        try:
            yield
            assert process.poll() is None, log.read_text("utf-8", "replace")[-3_000:]
        finally:
            family = [process, *psutil.Process(process.pid).children(recursive=True)]
            for member in family:
                member.terminate()
            _, left = psutil.wait_procs(family[1:], timeout=20)
            for member in left:
                member.kill()
            process.wait(timeout=60)


def waited(look: Any, what: str) -> Any:
    until = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < until, what
        time.sleep(0.5)
    return found


def ask(port: int, query: str, **variables: Any) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, {"content-type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=60) as answer:
        return json.load(answer)["data"]


LAUNCH = """
mutation($location: String!) { launchRun(executionParams: {mode: "default", selector: {
  repositoryLocationName: $location, repositoryName: "__repository__", jobName: $location}}) {
  __typename ... on LaunchRunSuccess { run { runId } } } }
"""
LOADED = """
{ workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError {
  __typename } } } } }
"""


def loaded(port: int) -> bool:
    try:
        entries = ask(port, LOADED)["workspaceOrError"]["locationEntries"]
    except OSError:
        return False
    return [entry["locationOrLoadError"] for entry in entries] == [
        {"__typename": "RepositoryLocation"}
    ]


def commands(ports: Mapping[str, str], workspace: Path) -> dict[str, list[str]]:
    """Those of deploy/compose.yaml, on ports that are free here."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"]
    named = {"0.0.0.0": "127.0.0.1", "workspace.yaml": str(workspace)}
    return {
        name: [
            ports[name] if before == "--port" else named.get(word, word)
            for before, word in zip(["", *command], command, strict=False)
        ]
        for name, command in ((name, services[name]["command"]) for name in ports)
    }


def rows(database: str, sql: str) -> list[tuple[Any, ...]]:
    with (
        psycopg2.connect(f"postgresql://{database}") as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def test_the_whole_graph_runs_from_a_launch_in_the_ui_to_the_index(
    home: Path, database: str, tmp_path: Path, mongod_uri: str, static_model: str,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri)
    embedder = {"provider": {"sentence_transformers": {"model": static_model}}}
    monkeypatch.setenv("MONGODB_URI", mongod_uri)
    monkeypatch.setenv(
        "EMBEDDINGS_CONFIGS",
        f"mongodb/server.yaml,{write_config(tmp_path / 'static.yaml', embedder=embedder)}",
    )
    ports = {name: str(free_port()) for name in ("quickstart", "daemon", "webserver")}
    server = {"host": "127.0.0.1", "port": int(ports["quickstart"]), "location_name": "quickstart"}
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}), "utf-8")
    port = int(ports["webserver"])

    with dg.DagsterInstance.get() as instance, ExitStack() as stack:
        for name, command in commands(ports, workspace).items():
            stack.enter_context(running(command, tmp_path / f"{name}.log"))
        waited(lambda: loaded(port), "the webserver loads no code location")
        run_id = ask(port, LAUNCH, location="quickstart")["launchRun"]["run"]["runId"]

        def ended() -> dg.DagsterRun | None:
            run = instance.get_run_by_id(run_id)
            return run if run and run.is_finished else None

        run = waited(ended, "the daemon launches no run")
        events = "\n".join(str(event) for event in instance.all_logs(run_id)[-5:])
        assert run.status is dg.DagsterRunStatus.SUCCESS, events
        made = instance.get_latest_materialization_event(
            dg.AssetKey(["quickstart", "search_index"])
        )
        assert made
        assert made.run_id == run_id
    assert rows(database, "SELECT count(*) FROM runs") == [(1,)]
    assert not list(home.rglob("*.db"))  # nothing of it is in SQLite beside
    assert list((tmp_path / "logs").rglob("*")), "the webserver shows what steps print"

    # The command line writes to the same storage.
    past = json.loads(succeeds("history", "quickstart", "--every", "--json"))
    assert json.dumps(past).count(run_id) == 1
    succeeds("maintain", "quickstart", "--json")

    # Dagster's storage is lost: what pipelines go by lies in MongoDB and in the batch store.
    rows(database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    told = json.loads(succeeds("run", "quickstart", "--json"))
    assert told["search_index"]["indexed"] == told["search_index"]["stored"] == 180
    assert told["embedding_batches"]["embedded"] == 0
    assert rows(database, "SELECT count(*) FROM runs") == [(1,)]

    for name in ("quickstart", "embeddings"):
        client.drop_database(name)
    client.close()


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("postgresql+psycopg2://dagster:letters8and9digits@127.0.0.1:1/postgres", "can be reached"),
        ("postgresql+psycopg2://dagster:other1password@{host}", "takes that user and password"),
        ("postgresql://dagster:letters8and9digits@{host}", "`postgresql+psycopg2://`"),
        (None, "DAGSTER_POSTGRES_URL, which its dagster.yaml names, is not set"),
    ],
)
def test_a_storage_that_cannot_be_used_is_a_sentence_with_the_way_out(
    home: Path, database: str, monkeypatch: pytest.MonkeyPatch, variable: str | None, says: str
):
    monkeypatch.delenv("DAGSTER_POSTGRES_URL")
    if variable:
        url = variable.format(host=database.rpartition("@")[2])
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url)
    with pytest.raises(ConfigurationError) as refused, project_instance():
        pass
    assert says in str(refused.value)
    assert "password1" not in str(refused.value)
    assert "letters8and9digits" not in str(refused.value)
    assert "new one is made" not in str(refused.value)
