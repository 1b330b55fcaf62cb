"""A backfill of all shards, launched over GraphQL, carried out by a real daemon; then the index."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus

from pipelines.framework.sensing.shards import sensor_name
from resources.core.shards import shard_names, shard_of
from tests.backfills import launched
from tests.pipelines.framework.test_schedule import PATIENCE, daemon
from tests.pipelines.helpers import (
    DOCUMENTS,
    corpus_settings,
    dagster,
    environment,
    write_config,
    write_jsonl,
    write_pipeline,
)

pytestmark = pytest.mark.proof

NAME = "sharded"


def wait(process: subprocess.Popen[bytes], seen: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if seen():
            return True
        time.sleep(0.5)
    return False


def said_last(instance: dg.DagsterInstance) -> str:
    """What the sensor said when it last looked."""
    for state in instance.all_instigator_state():
        if state.instigator_name == sensor_name(NAME):
            ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            return (ticks[0].skip_reason or "") if ticks else ""
    return ""


def runs(instance: dg.DagsterInstance, **which: Any) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(**which)))


@pytest.mark.skipif(os.name != "posix", reason="ends the daemon by its process group")
def test_a_backfill_stores_every_shard_and_the_index_follows_once(
    tmp_path: Path, mongod_uri: str, static_model: str
):
    env = environment(tmp_path, MONGODB_URI=mongod_uri)
    home = env["DAGSTER_HOME"]
    settings = corpus_settings(
        write_jsonl(tmp_path / "documents.jsonl", DOCUMENTS), static_model, database=NAME
    )
    settings["mongodb"] = {
        "deployment": {"server": {"uri": {"env": "MONGODB_URI"}}},
        "registry": f"{NAME}_registry",
    }
    module = write_pipeline(
        tmp_path / "sharded",
        NAME,
        [write_config(tmp_path / "sharded.yaml", **settings)],
        "shards=2",
        "schedule_status=dg.DefaultScheduleStatus.RUNNING",
    )
    # It looks more often than every 30 seconds.
    text = module.read_text("utf-8")
    often = "from pipelines.framework.sensing import shards\n\nshards.SECONDS = 2\n"
    module.write_text(text.replace("\npipeline =", f"{often}\npipeline ="), "utf-8")
    workspace, log = tmp_path / "workspace.yaml", tmp_path / "daemon.log"
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_file": str(module)}]}), "utf-8")

    planned = dagster("job", "execute", "-f", str(module), "-j", NAME, env=env)
    assert planned.returncode == 0, planned.stdout[-4000:]
    backfill = launched(workspace, env, NAME, shard_names(2))
    with dg.DagsterInstance.from_config(home) as instance, daemon(workspace, env, log) as process:
        # The index has followed, and the sensor has looked again since.
        done = wait(process, lambda: said_last(instance) == "the newest plan is carried out")
        assert done, log.read_text("utf-8")[-4000:]
        ended = instance.get_backfill(backfill)
        assert ended is not None
        assert ended.status is BulkActionStatus.COMPLETED_SUCCESS
        made = runs(instance, tags={"dagster/backfill": backfill})
        assert sorted(run.tags["dagster/partition"] for run in made) == shard_names(2)
        assert {run.status for run in made} == {dg.DagsterRunStatus.SUCCESS}
        assert runs(instance, job_name=f"{NAME}_shards") == [], "it leaves them to the backfill"
        (index,) = runs(instance, job_name=f"{NAME}_index")
        assert wait(process, lambda: bool(runs(instance, run_ids=[index.run_id])[0].is_finished))
        (index,) = runs(instance, job_name=f"{NAME}_index")
        assert index.status is dg.DagsterRunStatus.SUCCESS, log.read_text("utf-8")[-4000:]
        assert index.tags["dagster/sensor_name"] == sensor_name(NAME)
        event = instance.get_latest_materialization_event(dg.AssetKey([NAME, "search_index"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["vectors indexed"].value == len(DOCUMENTS)
    with pymongo.MongoClient(mongod_uri) as client:
        stored = client[NAME]["documents"].find().to_list()
    assert {row["_id"] for row in stored} == {row["_id"] for row in DOCUMENTS}
    by_run = {run.tags["dagster/partition"]: run.run_id for run in made}
    for row in stored:
        shard = shard_names(2)[shard_of(row["_id"], 2)]
        assert row["embedding_lineage"]["run"] == by_run[shard]
