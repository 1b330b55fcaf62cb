"""The pipelines through Dagster's own command line, as processes of their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import pytest

from resources.mongodb import embedded
from tests import servers
from tests.pipelines.helpers import (
    DOCUMENTS,
    dagster,
    environment,
    write_config,
    write_jsonl,
)

pytestmark = pytest.mark.slow

SERVER = "configs/mongodb/server.yaml"
QUICKSTART = ["-m", "pipelines.quickstart"]
JOB = ["job", "execute", *QUICKSTART, "-j", "quickstart"]
ASSETS = ["asset", "materialize", *QUICKSTART, "--select", "*"]


@dataclass
class Bench:
    """A folder for overrides, an environment, and what runs in it left behind."""

    folder: Path
    env: dict[str, str]
    client: pymongo.MongoClient
    database: str

    def overrides(self, documents: list[Any], **more: dict[str, Any]) -> str:
        """Few documents, and a database of this test's own."""
        source = write_jsonl(self.folder / "documents.jsonl", documents)
        settings = {
            "source": {"origin": {"jsonl": {"path": str(source)}}, "id_field": "_id"},
            "vector_store": {"database": self.database},
            "mongodb": {"registry": f"{self.database}_registry"},
        }
        return write_config(self.folder / "overrides.yaml", **settings, **more)

    def stored(self) -> list[dict[str, Any]]:
        return self.client[self.database]["documents"].find().to_list()

    def runs(self) -> list[dg.DagsterRun]:
        with dg.DagsterInstance.from_config(self.env["DAGSTER_HOME"]) as instance:
            return list(instance.get_runs())

    def metadata(self, asset: str) -> dict[str, Any]:
        with dg.DagsterInstance.from_config(self.env["DAGSTER_HOME"]) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(["quickstart", asset]))
            assert event is not None
            assert event.asset_materialization is not None
            found = event.asset_materialization.metadata
            return {name: value.value for name, value in found.items()}


@pytest.fixture
def bench(tmp_path: Path, mongod_uri: str) -> Iterator[Bench]:
    client: pymongo.MongoClient = pymongo.MongoClient(mongod_uri)
    name = f"cli_{tmp_path.name}"
    yield Bench(tmp_path, environment(tmp_path, MONGODB_URI=mongod_uri), client, name)
    client.drop_database(name)
    client.drop_database(f"{name}_registry")
    client.close()


@pytest.mark.proof
def test_job_execute_then_materialize_with_another_model(bench: Bench, static_model: str):
    few = bench.overrides(DOCUMENTS)
    first = dagster(*JOB, "-c", few, "-c", SERVER, env=bench.env)
    assert first.returncode == 0, first.stdout
    assert "RUN_SUCCESS" in first.stdout
    stored = bench.stored()
    assert {document["_id"] for document in stored} == {row["_id"] for row in DOCUMENTS}
    models = {document["embedding_lineage"]["model"] for document in stored}
    assert models == {"sentence-transformers/all-MiniLM-L6-v2"}
    assert {len(document["embedding"].as_vector().data) for document in stored} == {384}
    assert {document["kind"] for document in stored} == {"nature", "kitchen", "workshop"}
    (run,) = bench.runs()
    assert (run.job_name, run.status) == ("quickstart", dg.DagsterRunStatus.SUCCESS)
    assert bench.metadata("search_index")["vectors indexed"] == 6

    # another fragment after it: the model alone changes, and its space is built beside the first
    static = write_config(
        bench.folder / "static.yaml",
        embedder={"provider": {"sentence_transformers": {"model": static_model}}},
    )
    second = dagster(*ASSETS, "-c", few, "-c", SERVER, "-c", static, env=bench.env)
    assert second.returncode == 0, second.stdout
    made = bench.metadata("candidate_space")
    path = f"embedding__{made['candidate']}"
    for before, document in zip(stored, bench.stored(), strict=True):
        assert {name: document[name] for name in before} == before
        assert document[f"{path}_lineage"]["model"] == "static"
        assert len(document[path].as_vector().data) == 64
    assert bench.metadata("source_documents")["to embed"] == 0
    assert made["embedded"] == 6
    assert len(bench.runs()) == 2


@pytest.mark.proof
def test_materialize_with_nothing_but_defaults(tmp_path: Path):
    """What `make dev` shows: the pipeline's own YAML, the embedded server, no environment."""
    if servers.secantus() is None:
        pytest.skip("no embedded server: pip install '.[embedded]'")
    env = environment(tmp_path)
    folder = tmp_path / "state" / "mongodb"
    one = '{"resources": {"source": {"config": {"limit": 1}}}}'
    try:
        for arguments, words in (
            ([], "embedded 180 texts"),
            # a limit changes what is read; nobody looked whether the rest is still there
            (["--config-json", one], "nothing to embed"),
        ):
            done = dagster(*ASSETS, *arguments, env=env)
            assert done.returncode == 0, done.stdout
            assert words in done.stdout
            with pymongo.MongoClient(embedded.ensure_running(folder)) as client:
                assert client["quickstart"]["documents"].count_documents({}) == 180
    finally:
        embedded.stop(folder)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (
            {"source": {"txt": "body"}},
            ['"txt" at path root:resources:source:config', "id_field?:", "text?:"],
        ),
        pytest.param(
            {"embedder": {"max_batch_chunks": "many"}},
            ["root:resources:embedder:config:max_batch_chunks", '"many"', '"Int"'],
            marks=pytest.mark.proof,
        ),
        pytest.param(
            {"search_index": {"similarity": "dot"}},
            ["root:resources:search_index:config:similarity", "'dotProduct'", "got dot"],
            marks=pytest.mark.proof,
        ),
        pytest.param(
            {"embedder": {"provider": {"cohere": {}}}},
            ['"cohere" at path root:resources:embedder:config:provider', "voyage?:"],
            marks=pytest.mark.proof,
        ),
    ],
    ids=["key", "type", "value", "variant"],
)
def test_wrong_run_config(tmp_path: Path, resources: dict[str, Any], words: list[str]):
    env = environment(tmp_path)
    failed = dagster(*JOB, "-c", write_config(tmp_path / "wrong.yaml", **resources), env=env)
    assert failed.returncode == 1
    last = failed.stdout[failed.stdout.rindex("DagsterInvalidConfigError:") :]
    assert all(word in last for word in words), last
    assert not (tmp_path / "state").exists()


@pytest.mark.proof
def test_value_out_of_range(tmp_path: Path):
    wrong = write_config(tmp_path / "wrong.yaml", embedder={"max_batch_chunks": 0})
    failed = dagster(*JOB, "-c", wrong, env=environment(tmp_path))
    assert failed.returncode == 1
    for words in ("max_batch_chunks", "greater than or equal to 1"):
        assert words in failed.stdout


@pytest.mark.proof
def test_airbnb_without_keys_names_them(tmp_path: Path):
    failed = dagster(
        "job", "execute", "-m", "pipelines.airbnb", "-j", "airbnb", env=environment(tmp_path)
    )
    assert failed.returncode == 1
    needs = "pipeline airbnb needs VOYAGE_API_KEY for its embedder and MONGODB_URI for its mongodb"
    assert needs in failed.stdout


@pytest.mark.proof
def test_a_step_fails_with_its_sentence(tmp_path: Path):
    settings = {
        "source": {"origin": {"jsonl": {"path": "data/gone.jsonl"}}},
        "mongodb": {
            "deployment": {"server": {"uri": f"mongodb://127.0.0.1:{servers.free_port()}"}},
            "timeout_seconds": 0.5,
        },
        "runs": {"retries": 1, "retry_pause": "1s"},
    }
    wrong = write_config(tmp_path / "wrong.yaml", **settings)
    failed = dagster(*JOB, "-c", wrong, env=environment(tmp_path))
    assert failed.returncode == 1
    assert "cannot be reached: is the server running" in failed.stdout
    assert "the step is tried again in 1" in failed.stdout


def test_definitions_validate_without_keys_or_server(tmp_path: Path):
    done = dagster("definitions", "validate", "-w", "workspace.yaml", env=environment(tmp_path))
    assert done.returncode == 0, done.stdout
    for location in ("quickstart", "airbnb"):
        assert f"Validation successful for code location {location}" in done.stdout
    assert not (tmp_path / "state").exists()
