"""The steps of a run on several workers: one is killed in the middle, and nothing is lost."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import pytest

from pipelines.framework.machines import reach
from pipelines.framework.machines import workers as machine_workers
from resources.registry.registry import Registry
from tests import machines, servers
from tests.assets.test_crash import content
from tests.machines import PATIENCE, Machines, wait_for
from tests.proofs.test_kills import BATCH, CONCURRENCY, KEY, TEXTS, Paid

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]


class OwnMongod:
    """A server of its own, which can be started again on what it has stored."""

    def __init__(self, folder: Path) -> None:
        binary = servers.genuine_mongod()
        if binary is None:
            pytest.skip("no genuine mongod for this machine")
        self.port = servers.free_port()
        folder.mkdir()
        self._command = [str(binary), "--dbpath", str(folder), "--port", str(self.port), "--quiet"]
        self.uri = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [*self._command, "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.25"],
            stdout=subprocess.DEVNULL,
        )
        with pymongo.MongoClient(self.uri, serverSelectionTimeoutMS=60_000) as client:
            client.admin.command("ping")

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=PATIENCE)


@pytest.fixture
def mongod(tmp_path: Path) -> Iterator[OwnMongod]:
    made = OwnMongod(tmp_path / "mongod")
    yield made
    made.stop()


@pytest.fixture
def paid(
    tmp_path: Path, mongod: OwnMongod, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Paid, Paid]]:
    """One on workers, and one that is run as always."""
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)
    both = Paid(tmp_path / "killed", mongod.uri, 0.2), Paid(tmp_path / "whole", mongod.uri, 0.0)
    for one in both:
        one.workshop.configure({"search_index": {"engine": "local"}})
        one.write(0)
    yield both
    for one in both:
        one.close()


@pytest.fixture
def project(
    tmp_path: Path, paid: tuple[Paid, Paid], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Machines]:
    with machines.any_broker(tmp_path) as broker:
        made = Machines(tmp_path / "project", broker, paid[0].workshop.settings, variables=KEY)
        for name in ("DAGSTER_HOME", "EMBEDDINGS_EXECUTOR", machines.BROKER, machines.PROJECT):
            monkeypatch.setenv(name, made.environment[name])
        yield made
        made.close()


def newest(project: Machines) -> dg.DagsterRun:
    with project.instance() as instance:
        return instance.get_runs(limit=1)[0]


def at_work(project: Machines, asset: str) -> str:
    """Which worker has begun a step of the newest run."""

    def found() -> str:
        with project.instance() as instance:
            for entry in instance.all_logs(newest(project).run_id):
                event = entry.dagster_event
                if event and event.step_key == f"films__{asset}" and event.is_engine_event:
                    worker = event.engine_event_data.metadata.get("Celery worker")
                    if worker:
                        return str(worker.value).split("@")[0]
        return ""

    return wait_for(found, f"{asset} to begin")


def said(project: Machines) -> tuple[str, dg.DagsterRunStatus, str]:
    """The newest run: its id, how it ended, and what its steps failed of."""
    with project.instance() as instance:
        run = newest(project)
        failed = [
            entry.dagster_event.step_failure_data.error_display_string
            for entry in instance.all_logs(run.run_id)
            if entry.dagster_event and entry.dagster_event.is_step_failure
        ]
    return run.run_id, run.status, "\n".join(failed)


def prove(victim: Paid, whole: Paid, kills: int) -> None:
    """Nothing lost, nothing paid twice but what was under way, and a ledger that brackets."""
    assert whole.workshop.run().success
    assert content(victim.workshop) == content(whole.workshop)
    wait_for(lambda: not victim.server.in_flight, "the last requests")
    rows = Registry(victim.workshop.client, victim.workshop.database).ledger.spend("films")
    names = ("tokens", "unanswered_tokens", "unanswered")
    tokens, unanswered, requests = (sum(getattr(row, name) for row in rows) for name in names)
    billed, needed = victim.server.tokens_billed, whole.server.tokens_billed
    repeated = sum(count - 1 for count in victim.server.texts_billed.values())
    said = f"needed {needed:,}, billed {billed:,}, paid again {repeated} texts"
    print(f"{said}, ledger {tokens:,} and {requests} requests open")  # noqa: T201
    assert tokens <= billed <= tokens + unanswered
    assert requests <= kills * CONCURRENCY
    assert repeated <= kills * (CONCURRENCY + 1) * BATCH


def test_cancelled_then_killed_while_the_server_restarts(
    paid: tuple[Paid, Paid], project: Machines, mongod: OwnMongod
):
    victim, whole = paid
    provider = victim.server.behaviour
    workers = {name: project.worker(name) for name in ("one", "two")}
    for worker in workers.values():
        worker.wait_until_ready()
    config = project.folder / "run.yaml"
    config.write_text("execution: {config: {worker_lost_seconds: 15}}\n")

    provider.hold = lambda request: victim.answered() >= 12  # it goes no further by itself
    cancelled = project.launch("-c", str(config))
    wait_for(lambda: victim.written() >= 3, "batches")
    at = workers[at_work(project, "embedding_batches")]
    with project.instance() as instance:  # as the run launcher does for the UI
        instance.report_run_canceling(newest(project))
    cancelled.send_signal(signal.SIGTERM)
    cancelled.wait(timeout=PATIENCE)
    assert said(project)[1] is dg.DagsterRunStatus.CANCELED
    wait_for(lambda: "Terminating" in at.said(), "the worker to stop the step")
    leases = victim.workshop.client[victim.workshop.database]["embedding_leases"]
    wait_for(lambda: leases.find_one({"run": None}), "the step to end")
    paid_for, batches = victim.answered(), victim.written()
    assert 3 <= batches < TEXTS // BATCH

    provider.hold = lambda request: victim.answered() >= paid_for + 12
    run = project.launch("-c", str(config))
    wait_for(lambda: victim.written() >= batches + 3, "more batches")
    lost = at_work(project, "embedding_batches")
    workers[lost].kill()
    mongod.restart()
    provider.hold = lambda request: False
    run.wait(timeout=PATIENCE)
    first, status, sentence = said(project)
    assert status is dg.DagsterRunStatus.FAILURE
    assert f"the worker {lost}@" in sentence
    assert "had begun it, and does not answer, for 15 s by now; run it again" in sentence
    stored = victim.rows()
    assert batches + 3 <= victim.written() < TEXTS // BATCH
    assert victim.answered() > paid_for

    with project.instance() as instance:
        again = dg.execute_job(
            project.job(),
            instance,
            reexecution_options=dg.ReexecutionOptions.from_failure(first, instance),
            raise_on_error=False,
        )
    assert again.success, said(project)
    done = {event.step_key for event in again.all_events if event.is_step_success}
    assert "films__source_documents" not in done  # what had been done is not done again
    assert "films__search_index" in done
    assert newest(project).tags["embeddings/embedded"] == str(TEXTS - stored)
    prove(victim, whole, kills=2)
    # A process connects once for all its steps; the one that was stopped was another.
    for worker in workers.values():
        opened = [line.split()[0] for line in worker.loads()]
        assert 1 <= len(opened) == len(set(opened)) <= 2


def test_a_worker_that_comes_back_under_its_name_has_lost_what_it_had_begun(
    paid: tuple[Paid, Paid], project: Machines
):
    victim, whole = paid
    provider = victim.server.behaviour
    worker = project.worker("one")
    worker.wait_until_ready()
    config = project.folder / "run.yaml"
    config.write_text("execution: {config: {worker_lost_seconds: 30}}\n")
    provider.hold = lambda request: victim.answered() >= 12
    run = project.launch("-c", str(config))
    wait_for(lambda: victim.written() >= 3, "batches")
    assert at_work(project, "embedding_batches") == "one"
    worker.kill()
    project.worker("one").wait_until_ready()
    provider.hold = lambda request: False
    run.wait(timeout=PATIENCE)
    _, status, sentence = said(project)
    assert status is dg.DagsterRunStatus.FAILURE
    # A machine that is busy may not have it started in time.
    assert re.search("had begun it, (has been started anew|and does not answer)", sentence)
    assert project.launch("-c", str(config)).wait(timeout=PATIENCE) == 0
    prove(victim, whole, kills=1)


@pytest.mark.parametrize("url", ["batches", {"env": "BATCHES"}])
def test_workers_that_do_not_reach_the_same_batches_begin_nothing(
    tmp_path: Path, paid: tuple[Paid, Paid], monkeypatch: pytest.MonkeyPatch, url: object
):
    settings = paid[0].workshop.settings | {"batch_store": {"url": url}}
    monkeypatch.setenv("BATCHES", str(tmp_path / "here"))
    with machines.any_broker(tmp_path) as broker:
        project = Machines(tmp_path / "project", broker, settings, variables=KEY)
        try:
            elsewhere = {"EMBEDDINGS_HOME": str(tmp_path / "disk"), "BATCHES": str(tmp_path / "b")}
            for each in (
                project.worker("one"),
                project.worker("two", variables=elsewhere),
            ):
                each.wait_until_ready()
            run = project.launch()
            assert run.wait(timeout=PATIENCE) != 0
            log = (project.folder / "run-films.log").read_text()
            assert "the worker two@" in log
            assert "does not find the batches of one@" in log
            assert "name a folder that they share" in log.replace("\n", " ")
            assert newest(project).status is dg.DagsterRunStatus.FAILURE
            assert not paid[0].server.requests
            with project.instance() as instance:
                events = [e.dagster_event for e in instance.all_logs(newest(project).run_id)]
            assert not [each for each in events if each and each.is_step_start]
            project.started[1].kill()
            assert project.launch().wait(timeout=PATIENCE) == 0
        finally:
            project.close()


def test_a_worker_that_dies_as_it_is_asked_keeps_no_run_from_the_others(
    paid: tuple[Paid, Paid], project: Machines, monkeypatch: pytest.MonkeyPatch
):
    workers = [project.worker(name) for name in ("one", "two")]
    for worker in workers:
        worker.wait_until_ready()
    broadcast, asked = reach.broadcast, []

    def dies(*arguments: Any, **options: Any) -> dict[str, Any]:
        asked.append(arguments[1])
        workers[0].kill()
        return broadcast(*arguments, **options)

    found = machine_workers.ask

    def both(*arguments: Any) -> Any:
        """A busy machine may take longer than a second to answer."""
        return wait_for(lambda: len(it := found(*arguments)) == 2 - len(asked) // 2 and it, "them")

    monkeypatch.setattr(machine_workers, "ask", both)
    monkeypatch.setattr(reach, "broadcast", dies)
    run = project.run()
    assert run.success
    assert asked == ["embeddings_reaches", "ping"], "one that is left alone is not asked"
    assert paid[0].rows() == TEXTS


def test_a_process_for_each_step_killed_with_all_of_them(tmp_path: Path, paid: tuple[Paid, Paid]):
    victim, whole = paid
    settings = victim.workshop.settings
    project = Machines(
        tmp_path / "project", "unused", settings, executor="multiprocess", variables=KEY
    )
    config = project.folder / "run.yaml"
    config.write_text(
        "execution: {config: {max_concurrent: 2, start_method: "
        "{forkserver: {preload_modules: [pipelines.framework.pipeline]}}}}\n"
    )
    victim.server.behaviour.hold = lambda request: victim.answered() >= 12
    run = project.launch("-c", str(config))
    wait_for(lambda: victim.written() >= 3, "batches")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    victim.server.behaviour.hold = lambda request: False
    stored = victim.rows()
    assert 3 <= victim.written() < TEXTS // BATCH

    again = project.launch("-c", str(config))
    assert again.wait(timeout=PATIENCE) == 0, (project.folder / "run-films.log").read_text()[-3000:]
    assert newest(project).tags["embeddings/embedded"] == str(TEXTS - stored)
    prove(victim, whole, kills=1)
