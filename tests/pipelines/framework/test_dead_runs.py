"""A run whose process was killed is not shown as going on."""

import json
import subprocess
import sys

import dagster as dg
from dagster import DagsterRunStatus

from pipelines.framework.dead_runs import PROCESS, fail_dead_runs, process_tag
from tests.workshop import shared_instance

AS_ANOTHER = """
import sys
from pipelines.framework.dead_runs import PROCESS, process_tag
print(process_tag(sys.argv[1])[PROCESS])
"""


@dg.job
def dying():
    pass


def started(tags: dict[str, str] | None = None, run_id: str | None = None) -> dg.DagsterRun:
    instance = shared_instance()
    run = instance.create_run_for_job(dying, run_id=run_id, tags=tags)
    instance.report_dagster_event(
        dg.DagsterEvent("PIPELINE_START", "dying", message="started"), run.run_id
    )
    return run


def status(run: dg.DagsterRun) -> DagsterRunStatus:
    found = shared_instance().get_run_by_id(run.run_id)
    assert found
    return found.status


def test_only_the_run_of_a_process_that_is_gone_is_marked_as_failed():
    name = "6f3a5b0e-0000-4000-8000-000000000001"
    process = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER, name], capture_output=True, text=True, check=True
    )
    tag = {PROCESS: process.stdout.strip()}
    killed = started(tag, name)
    others = [
        started(tag),  # executed again: the tags of the one before, in a process of Dagster's
        started(),
        started({PROCESS: json.dumps(json.loads(tag[PROCESS]) | {"host": "elsewhere"})}),
    ]
    living = started(process_tag(name := "6f3a5b0e-0000-4000-8000-000000000002"), name)
    assert fail_dead_runs(shared_instance(), "dying") == [killed.run_id]
    assert status(killed) is DagsterRunStatus.FAILURE
    assert {status(run) for run in [*others, living]} == {DagsterRunStatus.STARTED}
    logs = shared_instance().all_logs(killed.run_id)
    assert "ended in the middle of it" in [entry.message for entry in logs][-1]
    assert fail_dead_runs(shared_instance(), "dying") == []
