"""A run that is ended from the Dagster UI while it embeds: soon, and with what it has paid for."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pymongo
import pytest
import yaml
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget

from tests import machines
from tests.machines import WorkerProcess, wait_for
from tests.pipelines.helpers import (
    corpus_settings,
    dagster,
    environment,
    write_config,
    write_jsonl,
    write_pipeline,
)

pytestmark = [
    pytest.mark.proof,
    pytest.mark.skipif(os.name != "posix", reason="ends a process by its signal"),
]

NAME = "sandglass"
TEXTS, REQUEST, CONCURRENCY = 400, 5, 4

LAUNCH = """mutation($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
} }"""
TERMINATE = "mutation($run: String!) { terminateRun(runId: $run) { __typename } }"

Query = Callable[..., dict[str, Any]]


@contextmanager
def webserver(instance: dg.DagsterInstance, workspace: Path) -> Iterator[Query]:
    """The UI's own API over the workspace, run launcher included, without its HTTP server."""
    from dagster_graphql.schema import create_schema

    schema = create_schema()
    target = WorkspaceFileTarget(paths=[str(workspace)])
    with WorkspaceProcessContext(instance, target) as process:

        def query(text: str, **variables: Any) -> dict[str, Any]:
            context = process.create_request_context()
            result = asyncio.run(
                schema.execute_async(text, variable_values=variables, context_value=context)
            )
            assert not result.errors, result.errors
            return result.data

        yield query


@contextmanager
def executing(how: str, env: dict[str, str], folder: Path) -> Iterator[None]:
    """What does the steps of runs by this environment."""
    env["EMBEDDINGS_EXECUTOR"] = how
    if how != "celery":
        yield
        return
    with machines.any_broker(folder) as broker:
        env |= {machines.BROKER: broker, machines.PROJECT: str(folder)}
        (folder / "workspace.yaml").touch()  # which makes it a project
        worker = WorkerProcess(SimpleNamespace(folder=folder, environment=env), "one")
        try:
            worker.wait_until_ready()
            yield
        finally:
            worker.kill()


@pytest.mark.parametrize("how", ["in_process", "multiprocess", "celery"])
def test_a_run_that_is_terminated_while_it_embeds_keeps_what_it_has_paid_for(
    how: str, tmp_path: Path, mongod_uri: str, openai_api: Any, monkeypatch: pytest.MonkeyPatch
):
    behaviour = openai_api.behaviour
    env = environment(
        tmp_path, MONGODB_URI=mongod_uri, OPENAI_API_KEY=behaviour.key, no_proxy="127.0.0.1"
    )
    with executing(how, env, tmp_path):
        _terminated(env, tmp_path, mongod_uri, openai_api, monkeypatch)


def _terminated(
    env: dict[str, str],
    tmp_path: Path,
    mongod_uri: str,
    openai_api: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    behaviour = openai_api.behaviour
    # There is no daemon here that would take runs from a queue.
    at_once = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    settings_file = Path(env["DAGSTER_HOME"]) / "dagster.yaml"
    settings_file.write_text(
        yaml.safe_dump({"telemetry": {"enabled": False}, "run_coordinator": at_once}), "utf-8"
    )
    for name, value in env.items():
        monkeypatch.setenv(name, value)  # of the code server, and of its runs
    texts = [f"text number {n}" for n in range(TEXTS)]
    source = write_jsonl(
        tmp_path / "texts.jsonl",
        ({"_id": n, "text": text, "kind": "text"} for n, text in enumerate(texts)),
    )
    settings = corpus_settings(source, "none", database=NAME)
    provider = {
        "base_url": openai_api.url, "dimensions": 64, "max_texts": REQUEST,
        "concurrency": CONCURRENCY,
    }  # fmt: skip
    settings["embedder"] = {"provider": {"openai": provider}, "max_batch_chunks": REQUEST}
    settings["mongodb"] = {
        "deployment": {"server": {"uri": {"env": "MONGODB_URI"}}},
        "registry": f"{NAME}_registry",
    }
    module = write_pipeline(
        tmp_path / "cancelled", NAME, [write_config(tmp_path / "own.yaml", **settings)]
    )
    workspace = tmp_path / "workspace.yaml"
    location = {"python_file": {"relative_path": str(module), "location_name": NAME}}
    workspace.write_text(yaml.safe_dump({"load_from": [location]}), "utf-8")
    # Once a quarter is embedded, answers take so long that only an end from outside ends the run.
    behaviour.latency = lambda request: 0.05 if served(openai_api) < TEXTS // 4 else 600.0

    home = env["DAGSTER_HOME"]
    with dg.DagsterInstance.from_config(home) as instance, webserver(instance, workspace) as query:
        selector = {
            "repositoryLocationName": NAME, "repositoryName": "__repository__", "jobName": NAME,
        }  # fmt: skip
        params = {"selector": selector, "mode": "default", "runConfigData": {}}
        launched = query(LAUNCH, params=params)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run = launched["run"]["runId"]
        wait_for(lambda: served(openai_api) >= TEXTS // 4, "a quarter to be embedded")
        wait_for(lambda: openai_api.requests[-1].answered is None, "a request without an answer")
        ended = query(TERMINATE, run=run)["terminateRun"]
        assert ended["__typename"] == "TerminateRunSuccess"
        wait_for(lambda: found(instance, run).is_finished, "the run to end", seconds=120.0)
        assert found(instance, run).status is dg.DagsterRunStatus.CANCELED

    # No answer was to come for minutes; what had been answered lies in batches, and nowhere else.
    # With Celery the run ends before its step has.
    with pymongo.MongoClient(mongod_uri) as client:
        leases = client[f"{NAME}_registry"]["embedding_leases"]
        wait_for(lambda: leases.find_one({"run": None}), "the step to end")
    kept = len(list(tmp_path.glob("state/**/batches/*/*.parquet"))) * REQUEST
    assert kept >= TEXTS // 4 - CONCURRENCY * REQUEST
    with pymongo.MongoClient(mongod_uri) as client:
        assert client[NAME]["documents"].count_documents({}) == 0

    # The next run is let in at once, and asks only for what was not answered.
    behaviour.latency = 0.0
    again = dagster("job", "execute", "-f", str(module), "-j", NAME, env=env)
    assert again.returncode == 0, again.stdout
    billed = Counter(dict(openai_api.texts_served))
    twice = [text for text in texts if billed[text] > 1]
    assert {text for text in texts if billed[text]} == set(texts)
    assert twice == []
    with pymongo.MongoClient(mongod_uri) as client:
        assert client[NAME]["documents"].count_documents({}) == TEXTS
        for name in (NAME, f"{NAME}_registry"):
            client.drop_database(name)


def served(api: Any) -> int:
    return sum(dict(api.texts_served).values())


def found(instance: dg.DagsterInstance, run: str) -> dg.DagsterRun:
    there = instance.get_run_by_id(run)
    assert there is not None
    return there
