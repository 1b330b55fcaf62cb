"""Runs that find no worker end with a sentence, and soon; over a broker of files, in process."""

from pathlib import Path
from typing import Any

import pytest
from dagster._core.code_pointer import FileCodePointer, ModuleCodePointer

from pipelines.framework.machines import reach
from pipelines.framework.machines.broker import VARIABLE, BrokerError, celery_app, check_broker
from pipelines.framework.machines.workers import Worker, check_workers, missing, where
from resources.core.errors import ConfigurationError
from tests.machines import Machines
from tests.servers import free_port
from tests.workshop import Workshop

CODE = ModuleCodePointer("pipelines.quickstart", "defs", None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, f"filesystem://{tmp_path / 'broker'}")
    return tmp_path / "broker"


def test_no_broker_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match="EMBEDDINGS_BROKER is not set: set it where"):
        celery_app()


def test_a_broker_that_is_not_there(monkeypatch: pytest.MonkeyPatch):
    port = free_port()
    monkeypatch.setenv(VARIABLE, f"redis://:hunter22@127.0.0.1:{port}/0")
    with pytest.raises(BrokerError, match=f"cannot be reached .*{port}.*see that it runs") as said:
        check_broker(celery_app())
    assert "hunter22" not in str(said.value)


def test_a_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, f"filesystem://{tmp_path / 'file'}")
    with pytest.raises(ConfigurationError, match=r"which cannot be used \(Not a directory\)"):
        celery_app()


def test_nobody_takes_steps(folder: Path):
    with pytest.raises(BrokerError) as said:
        check_workers(celery_app(), ["gpu", "dagster"], CODE, wait_seconds=0)
    assert str(said.value) == (
        "no Celery worker takes steps from the queue dagster and gpu (asked for 0 s): start one "
        "with `celery -A pipelines.framework.machines.app worker -Q dagster,gpu` and the same "
        "EMBEDDINGS_BROKER"
    )
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        (Worker("a@b", frozenset(), "there is no module x"), "(there is no module x): install"),
        (Worker("a@b", frozenset(), pool="celery.concurrency.solo"), "runs with --pool solo"),
        (Worker("a@b", frozenset()), ""),
    ],
)
def test_workers_that_cannot_do_it(worker: Worker, words: str):
    assert words in worker.fault
    assert bool(words) == bool(worker.fault)


def test_code_that_a_worker_has_not(tmp_path: Path):
    file = FileCodePointer("films.py", "defs", str(tmp_path))
    assert missing(where(file)) == f"there is no file {tmp_path / 'films.py'}"
    module = ModuleCodePointer("films_of_ours", "defs", str(tmp_path))
    assert missing(where(module)) == "there is no module films_of_ours"
    assert missing(where(CODE)) == ""
    (tmp_path / "films.py").touch()
    (tmp_path / "films_of_ours.py").touch()
    assert missing(where(file)) == missing(where(module)) == ""


@pytest.mark.parametrize("there", [{"one", "two"}, {"one"}], ids=["alive", "gone"])
def test_a_worker_that_says_nothing_is_gone_only_if_it_answers_no_ping_either(
    monkeypatch: pytest.MonkeyPatch, there: set[str]
):
    def answers(app: object, command: str, *_: object, **__: object) -> dict[str, Any]:
        if command == "ping":
            return {name: {"ok": "pong"} for name in there}
        return {"one": {"id": "a-store", "fault": ""}}

    monkeypatch.setattr(reach, "broadcast", answers)
    with pytest.raises(BrokerError) as said:
        reach.check_same_batches(None, ["one", "two"], "a-folder")
    gone = "two" not in there
    assert isinstance(said.value, reach.WorkerGone) == gone
    words = "does not answer any more" if gone else "of one: no answer within 30 s"
    assert words in str(said.value)


def test_a_run_without_workers_fails_before_its_first_step(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    shop = Workshop(folder.parent, "mongodb://127.0.0.1:9", "unused", "none")
    machines = Machines(folder.parent / "project", f"filesystem://{folder}", shop.settings)
    for name in ("EMBEDDINGS_EXECUTOR", "DAGSTER_HOME"):
        monkeypatch.setenv(name, machines.environment[name])
    run: Any = machines.run(worker_wait_seconds=0)
    assert not run.success
    (failed,) = [event for event in run.all_events if event.is_job_failure]
    assert (
        "no Celery worker takes steps from the queue dagster"
        in failed.job_failure_data.error.message
    )
    assert not [event for event in run.all_events if event.is_step_event]
    shop.client.close()
