"""Whether all workers of a run reach the same batches: the store that each of them finds is one.

Asked before the first step, by a name that lies in the store.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagster._core.execution.context.system import PlanOrchestrationContext

from pipelines.framework.location import resource_prefix
from pipelines.framework.machines.broker import BrokerError
from pipelines.framework.machines.workers import REACHES, broadcast
from resources.batch_store.identity import URL
from resources.core.credentials import hidden, in_clear

if TYPE_CHECKING:
    from celery import Celery

SECONDS = 30.0
"""For workers to look."""
KNOWN_SECONDS = 60.0
"""For which a worker does not look again."""


def urls_of(plan_context: PlanOrchestrationContext) -> list[Any]:
    """Where a run's batches lie: texts, or names of variables, which each worker looks up itself.

    None where a secret stands in the run's config: its first step refuses that.
    """
    job, run_config = plan_context.job.get_definition(), plan_context.dagster_run.run_config
    if any(True for _ in in_clear(run_config)):
        return []
    given: Any = run_config.get("resources") or {}
    pipelines = sorted({key.path[0] for key in job.asset_layer.selected_asset_keys})
    found = []
    for name in (*(f"{resource_prefix(each)}batch_store" for each in pipelines), "batch_store"):
        if name in job.resource_defs:
            declared: Any = job.resource_defs[name].config_schema.as_field().default_value
            url = {**declared, **((given.get(name) or {}).get("config") or {})}["url"]
            found += [] if url in found else [url]
    return found


class WorkerGone(BrokerError):
    """A worker answered a moment ago, and does not any more."""


def check_same_batches(app: "Celery", workers: Sequence[str], url: Any) -> None:
    """See that what one worker writes all others can read.

    Raises:
        BrokerError: One of them does not.
        WorkerGone: One of them has gone meanwhile; the others have not been asked for all of it.
    """
    if len(workers) < 2:
        return
    first = min(workers)
    found = _ask(app, url, workers)
    if not found[first].get("id") and not found[first].get("fault"):
        found |= _ask(app, url, [first], create=True)
        found |= _ask(app, url, [each for each in workers if each != first])
    here = found[first]
    if fault := here.get("fault", ""):
        raise BrokerError(f"the worker {first} does not reach its batches: {fault}")
    for worker in sorted(workers):
        there = found[worker]
        if there.get("fault") or there.get("id") != here["id"]:
            why = there.get("fault") or "it finds another store there"
            raise BrokerError(
                f"the worker {worker} does not find the batches of {first}: {why}; all workers of "
                "a run have to reach the same ones: name a folder that they share, or an object "
                "store, as `batch_store: url`, or start on that machine no worker of these queues"
            )


def _ask(
    app: "Celery", url: Any, workers: Sequence[str], *, create: bool = False
) -> dict[str, dict[str, str]]:
    arguments = {"url": url, "create": create}
    said = broadcast(app, REACHES, arguments, list(workers), seconds=SECONDS)
    found = {name: told for name, told in said.items() if isinstance(told, dict)}
    if silent := [name for name in workers if name not in said]:
        # Of all of them, and for as long: one that looks for another run answers nothing meanwhile,
        # and a late answer would be taken for the only one that is waited for.
        there = broadcast(app, "ping", {}, seconds=SECONDS)
        if gone := [name for name in silent if name not in there]:
            raise WorkerGone(
                f"the worker {gone[0]} was there and does not answer any more: see in its log why, "
                "and run it again"
            )
    # One of another version knows no such command.
    known = {
        name: told if {"id", "fault"} <= told.keys() else {"fault": f"{told}: start it again"}
        for name, told in found.items()
    }
    return {name: {"fault": f"no answer within {SECONDS:g} s"} for name in workers} | known


_known: dict[str, tuple[float, str]] = {}


def reached(url: Any, *, create: bool) -> dict[str, str]:
    """What this worker finds there: the `id` of the store, and a `fault`, of which one is empty."""
    if isinstance(url, Mapping):
        variable = str(url.get("env"))
        if not (url := os.environ.get(variable)):
            return {"fault": f"{variable} is not set there", "id": ""}
    url = str(url)
    at, known = _known.get(url, (0.0, ""))
    if known and time.monotonic() - at < KNOWN_SECONDS:
        return {"fault": "", "id": known}
    found = _looked(url, create=create)
    if found["id"]:
        _known[url] = time.monotonic(), found["id"]
    return found


def _looked(url: str, *, create: bool) -> dict[str, str]:
    command = [sys.executable, "-m", "resources.batch_store.identity"]
    command += ["create"] if create else []
    try:
        done = subprocess.run(
            command, env={**os.environ, URL: url}, capture_output=True, text=True,
            timeout=SECONDS / 2, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"fault": f"its store does not answer within {SECONDS / 2:g} s", "id": ""}
    except OSError as error:
        return {"fault": str(error), "id": ""}
    said = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode:
        told = said or (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return {"fault": hidden(told[:300]), "id": ""}
    return {"fault": "", "id": said}
