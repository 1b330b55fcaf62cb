"""A pipeline's schedule and its alerts, ticked by a real daemon."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import pytest
import yaml

from tests.pipelines.helpers import (
    DOCUMENTS,
    corpus_settings,
    dagster,
    environment,
    script,
    write_config,
    write_jsonl,
    write_pipeline,
)
from tests.receivers import Webhook, webhook

pytestmark = pytest.mark.proof

PATIENCE = 600
NAME, BROKEN = "hourglass", "sundial"
EVERY_MINUTE = (
    'schedule="* * * * *"',
    "schedule_status=dg.DefaultScheduleStatus.RUNNING",
)
FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE)


@contextmanager
def daemon(workspace: Path, env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dagster-daemon run`; ended with everything that it started."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [script("dagster-daemon"), "run", "-w", str(workspace)],
            cwd=workspace.parent,
            env=dict(env),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for ending in (signal.SIGTERM, signal.SIGKILL):
            # The group may outlive its leader: code servers and runs are in it too.
            try:
                os.killpg(process.pid, ending)
                process.wait(timeout=60)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue


def scheduled_run(
    instance: dg.DagsterInstance, process: subprocess.Popen[bytes]
) -> dg.DagsterRun | None:
    """The first run of the pipeline that has finished."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        runs = list(instance.get_runs(dg.RunsFilter(job_name=NAME, statuses=list(FINISHED))))
        if runs:
            return runs[-1]
        time.sleep(0.5)
    return None


def metadata(home: str, asset: str, run: str | None = None) -> tuple[str, dict[str, Any]]:
    """Run and metadata of the latest materialization, or of a run's: a later one may be there."""
    with dg.DagsterInstance.from_config(home) as instance:
        records = instance.fetch_materializations(dg.AssetKey([NAME, asset]), limit=100).records
        found = next(each for each in records if run in (None, each.run_id))
        assert found.asset_materialization is not None
        values = found.asset_materialization.metadata
        return found.run_id, {name: value.value for name, value in values.items()}


@pytest.mark.skipif(os.name != "posix", reason="ends the daemon by its process group")
def test_a_daemon_runs_the_schedule_and_tells_of_what_fails(
    tmp_path: Path, mongod_uri: str, static_model: str
):
    with webhook() as receiver:
        ticked(tmp_path, mongod_uri, static_model, receiver)


def ticked(tmp_path: Path, mongod_uri: str, static_model: str, receiver: Webhook) -> None:
    env = environment(
        tmp_path, MONGODB_URI=mongod_uri, TEAM_WEBHOOK=receiver.url, no_proxy="127.0.0.1"
    )
    home = env["DAGSTER_HOME"]
    source = write_jsonl(tmp_path / "documents.jsonl", DOCUMENTS)
    settings = corpus_settings(source, static_model, database=NAME)
    settings["mongodb"] = {
        "deployment": {"server": {"uri": {"env": "MONGODB_URI"}}},
        "registry": f"{NAME}_registry",
    }
    night = write_config(tmp_path / "night.yaml", embedder={"max_tokens": 1_000})
    module = write_pipeline(
        tmp_path / "scheduled",
        NAME,
        [write_config(tmp_path / "hourglass.yaml", **settings)],
        *EVERY_MINUTE,
        f"schedule_configs={[night]!r}",
    )
    # Beside it one whose source is gone: its runs fail.
    settings["source"] = {"origin": {"jsonl": {"path": str(tmp_path / "gone.jsonl")}}}
    broken = write_pipeline(
        tmp_path / "scheduled",
        BROKEN,
        [
            write_config(
                tmp_path / "broken.yaml", **settings, alerts={"webhook_variable": "TEAM_WEBHOOK"}
            )
        ],
        *EVERY_MINUTE,
    )
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(
        yaml.safe_dump({"load_from": [{"python_file": str(each)} for each in (module, broken)]}),
        "utf-8",
    )
    log = tmp_path / "daemon.log"

    # The instance exists before the daemon: two that create one at once may spoil it.
    with dg.DagsterInstance.from_config(home) as instance, daemon(workspace, env, log) as process:
        run = scheduled_run(instance, process)
        told = receiver.arrived.wait(PATIENCE)
    assert run is not None, log.read_text("utf-8")[-4000:]
    assert run.status is dg.DagsterRunStatus.SUCCESS, log.read_text("utf-8")[-4000:]
    assert run.job_name == NAME
    assert run.tags["dagster/schedule_name"] == f"{NAME}_schedule"
    assert run.tags["embeddings/reason"] == "schedule"
    assert run.run_config["resources"] == {"embedder": {"config": {"max_tokens": 1_000}}}
    assert told, log.read_text("utf-8")[-4000:]
    alert = receiver.posted[0]
    assert (alert["pipeline"], alert["job"], alert["reason"]) == (BROKEN, BROKEN, "schedule")
    assert "source_documents: there is no file" in alert["sentence"]
    made_by, embedded = metadata(home, "embedding_batches", run.run_id)
    assert (made_by, embedded["embedded"]) == (run.run_id, 6)
    with pymongo.MongoClient(mongod_uri) as client:
        stored = client[NAME]["documents"].find().to_list()
    assert {document["_id"] for document in stored} == {row["_id"] for row in DOCUMENTS}
    assert {document["embedding_lineage"]["run"] for document in stored} == {run.run_id}

    # With nothing changed, a run has nothing to do.
    again = dagster("job", "execute", "-f", str(module), "-j", NAME, env=env)
    assert again.returncode == 0, again.stdout
    made_by, planned = metadata(home, "source_documents")
    assert made_by != run.run_id
    assert (planned["to embed"], planned["unchanged"]) == (0, 6)
    assert metadata(home, "embedding_batches")[1]["embedded"] == 0
    assert metadata(home, "stored_vectors")[1]["vectors written"] == 0
    assert metadata(home, "search_index")[1]["rebuilt"] is False
    with pymongo.MongoClient(mongod_uri) as client:
        assert client[NAME]["documents"].find().to_list() == stored
        for name in (NAME, f"{NAME}_registry"):
            client.drop_database(name)
