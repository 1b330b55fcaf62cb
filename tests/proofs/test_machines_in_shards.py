"""A backfill of shards on two workers: one dies in the middle, and so does the server."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.execution.backfill import BulkActionStatus

from resources.core.shards import shard_name, shard_names, shard_of
from tests import machines
from tests.backfills import launched
from tests.machines import Machines, eventually
from tests.pipelines.framework.test_schedule import daemon
from tests.proofs.test_kills import KEY, Paid
from tests.proofs.test_machines import OwnMongod, mongod, paid, prove  # noqa: F401

pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]

SHARDS = 4
ANSWERED = 6
ENDED = (BulkActionStatus.COMPLETED_SUCCESS, BulkActionStatus.COMPLETED_FAILED)


def test_a_shard_whose_worker_died_is_done_again_and_no_other(
    tmp_path: Path,
    paid: tuple[Paid, Paid],  # noqa: F811
    mongod: OwnMongod,  # noqa: F811
):
    victim, whole = paid
    provider = victim.server.behaviour
    # The server is away for a moment: what was at work on another shard waits for it.
    victim.workshop.configure({"runs": {"retries": 3, "retry_pause": "1s"}})
    with machines.any_broker(tmp_path) as broker:
        project = Machines(
            tmp_path / "project",
            broker,
            victim.workshop.settings,
            variables=KEY,
            arguments=(f"shards={SHARDS}", "schedule_status=dg.DefaultScheduleStatus.RUNNING"),
        )
        try:
            _carry_out(project, victim, provider, mongod)
        finally:
            project.close()
    prove(victim, whole, kills=2)


def of_text(text: str) -> str:
    """The shard of the document whose text it is."""
    return shard_name(shard_of(int(text.split()[1]), SHARDS), SHARDS)


def _carry_out(project: Machines, victim: Paid, provider: Any, mongod: OwnMongod) -> None:  # noqa: F811
    name, log = project.name, project.folder / "daemon.log"
    workspace = project.folder / "workspace.yaml"
    module = {"relative_path": str(project.module(name)), "working_directory": str(project.folder)}
    workspace.write_text(yaml.safe_dump({"load_from": [{"python_file": module}]}), "utf-8")
    workers = {each: project.worker(each) for each in ("one", "two")}
    for worker in workers.values():
        worker.wait_until_ready()
    assert project.launch().wait(timeout=machines.PATIENCE) == 0
    names = shard_names(SHARDS)
    config = {"execution": {"config": {"worker_lost_seconds": 15}}}

    def answered(shard: str) -> int:
        """Requests for texts of a shard."""
        served = [call for call in victim.server.requests if call.served]
        return sum(of_text(call.texts[0]) == shard for call in served)

    # It would go no further by itself: no shard comes to its end.
    provider.hold = lambda request: answered(of_text(request.texts[0])) >= ANSWERED
    # Before there is a daemon, whose sensor would launch the shards of a new plan itself.
    first = launched(workspace, project.environment, name, names, config)
    with project.instance() as instance, daemon(workspace, project.environment, log):

        def runs(backfill: str) -> list[dg.DagsterRun]:
            return list(instance.get_runs(dg.RunsFilter(tags={"dagster/backfill": backfill})))

        def at_work() -> dict[str, str]:
            """Runs of shards whose texts are being embedded, by the worker that does it."""
            found = {}
            for run in runs(first):
                asset = f"{name}__embedding_batches"
                for entry in [] if run.is_finished else instance.all_logs(run.run_id):
                    event = entry.dagster_event
                    if event and event.step_key == asset and event.is_engine_event:
                        worker = event.engine_event_data.metadata.get("Celery worker")
                        if worker:
                            found[str(worker.value).split("@")[0]] = run.tags["dagster/partition"]
            return found

        def why(run: dg.DagsterRun) -> list[str]:
            """What its steps failed of."""
            events = [entry.dagster_event for entry in instance.all_logs(run.run_id)]
            return [
                f"{each.step_key}: {each.step_failure_data.error_display_string[:500]}"
                for each in events
                if each and each.is_step_failure
            ]

        def ended(backfill: str) -> bool:
            found = instance.get_backfill(backfill)
            return found is not None and found.status in ENDED

        def halfway() -> bool:
            """Each worker is at a shard of its own, and has embedded something of it."""
            shards = at_work().values()
            return len(shards) == 2 and all(answered(each) >= ANSWERED for each in shards)

        eventually(halfway, "two shards", log)
        lost, shard = next(iter(at_work().items()))
        workers[lost].kill()
        mongod.restart()
        provider.hold = lambda request: False
        eventually(lambda: ended(first), "the backfill to end", log)
        failed = {run.tags["dagster/partition"]: run for run in runs(first) if not run.is_success}
        assert list(failed) == [shard], {each: why(run) for each, run in failed.items()}
        kept = victim.written()

        project.worker("three").wait_until_ready()
        second = launched(workspace, project.environment, name, list(failed))
        eventually(lambda: ended(second), "the failed shard to be done again", log)
        assert [run.is_success for run in runs(second)] == [True]
        assert victim.written() > kept

        def indexed() -> bool:
            found = instance.get_runs(dg.RunsFilter(job_name=f"{name}_index"))
            return any(run.is_success for run in found)

        eventually(indexed, "the index to follow", log)
    # What lives on has connected once, whatever number of shards it has done.
    for worker in workers.values():
        opened = [line.split()[0] for line in worker.loads()]
        assert 1 <= len(opened) == len(set(opened)) <= 2
