"""What does a run's steps: chosen where Dagster is started."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines.framework.executors import EXECUTORS, VARIABLE, executor, in_this_process
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import ConfigurationError
from tests.pipelines.helpers import environment

QUICKSTART = ["embedder/minilm.yaml", "mongodb/embedded.yaml", "quickstart.yaml"]


def job(**settings: Any) -> dg.JobDefinition:
    pipeline = EmbeddingPipeline(name="films", configs=QUICKSTART, **settings)
    return pipeline.definitions().resolve_job_def("films")


@pytest.mark.parametrize(
    ("chosen", "name"),
    [
        (None, "in_process"),
        ("", "in_process"),
        ("in_process", "in_process"),
        ("multiprocess", "multiprocess"),
        ("celery", "celery"),
    ],
)
def test_the_deployment_chooses(chosen: str | None, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    if chosen is not None:
        monkeypatch.setenv(VARIABLE, chosen)
    assert job().executor_def.name == name
    with in_this_process():
        assert job().executor_def.name == "in_process"
    assert executor().name == name


def test_an_unknown_executor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, "dask")
    with pytest.raises(ConfigurationError) as raised:
        job()
    assert str(raised.value) == (
        "EMBEDDINGS_EXECUTOR is 'dask', and there is no such executor: choose one of in_process, "
        "multiprocess, celery, k8s, or leave it out"
    )


@pytest.mark.parametrize(
    ("chosen", "way_out"),
    [
        ("celery", "pip install 'mongodb-embedding-pipelines[celery]'"),
        ("k8s", "pip install dagster-k8s"),
    ],
)
def test_a_missing_package(chosen: str, way_out: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(VARIABLE, chosen)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=f"dagster_{chosen} is not installed") as raised:
        executor()
    assert way_out in str(raised.value)
    assert chosen in EXECUTORS


LIGHT = """
import json, os, sys

import pipelines.quickstart

found = {}
for chosen in ("", "multiprocess", "celery"):
    os.environ["EMBEDDINGS_EXECUTOR"] = chosen
    job = pipelines.quickstart.pipeline.definitions().resolve_job_def("quickstart")
    found[job.executor_def.name] = [
        name for name in json.loads(sys.argv[1]) if name in sys.modules
    ]
print(json.dumps(found))
"""


def test_definitions_load_nothing_heavy(tmp_path: Path):
    heavy = ["torch", "transformers", "sentence_transformers", "openai", "voyageai", "faiss"]
    heavy += ["celery", "kombu", "redis", "pandas", "matplotlib", "boto3", "s3fs"]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(heavy)],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout) == {"in_process": [], "multiprocess": [], "celery": []}
