"""Whether all workers of a run reach the same batches: one writes a file there, all read it.

Asked before the first step. A worker does it in a process of its own: what object stores load is
not to be in the one that its steps are forked from, and a store that hangs is not to stop it.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dagster._core.execution.context.system import PlanOrchestrationContext

from pipelines.framework.location import resource_prefix
from pipelines.framework.machines.broker import BrokerError
from resources.core.errors import EmbeddingsError

if TYPE_CHECKING:
    from celery import Celery

SECONDS = 30.0
"""For a worker to begin a process, and to read a file."""

What = Literal["write", "read", "remove"]


def url_of(plan_context: PlanOrchestrationContext) -> Any:
    """Where a run's batches lie: text, or the name of a variable, which each worker looks up.

    A URL that holds credentials does not go through the broker.
    """
    job = plan_context.job.get_definition()
    given: Any = plan_context.dagster_run.run_config.get("resources") or {}
    pipelines = {key.path[0] for key in job.asset_layer.selected_asset_keys}
    for name in (*(f"{resource_prefix(each)}batch_store" for each in pipelines), "batch_store"):
        if name in job.resource_defs:
            declared: Any = job.resource_defs[name].config_schema.as_field().default_value
            return {**declared, **((given.get(name) or {}).get("config") or {})}["url"]
    return None


def check_same_batches(app: "Celery", workers: Sequence[str], url: Any, run: str) -> None:
    """See that what one worker writes all others read.

    Raises:
        BrokerError: One of them does not.
    """
    from pipelines.framework.machines.workers import REACHES, broadcast

    if len(workers) < 2:
        return
    first, *others = sorted(workers)

    def ask(what: What, whom: Sequence[str]) -> dict[str, Any]:
        arguments = {"what": what, "url": url, "name": run}
        return broadcast(app, REACHES, arguments, whom, seconds=SECONDS)

    (told,) = ask("write", [first]).values() or [{"fault": "it does not answer"}]
    if told["fault"]:
        raise BrokerError(f"the worker {first} cannot write batches: {told['fault']}")
    try:
        found = ask("read", others)
    finally:
        ask("remove", [first])
    for worker in others:
        if fault := found.get(worker, {"fault": "it does not answer"})["fault"]:
            raise BrokerError(
                f"the worker {worker} does not read what {first} has written to {told['url']}: "
                f"{fault}; all workers of a run have to reach the same batches: name a folder that "
                "they share, or an object store, as `batch_store: url`, or start on that machine "
                "no worker of these queues"
            )


def reached(what: str, url: Any, name: str) -> dict[str, str]:
    """What a process of this worker came to: a `fault`, empty where all is well, and the `url`."""
    if isinstance(url, Mapping):
        variable = str(url["env"])
        if not (url := os.environ.get(variable)):
            return {"fault": f"{variable} is not set there", "url": ""}
    command = [sys.executable, "-m", __name__, what, name, *([url] if url else [])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS - 5, check=False
        )
    except subprocess.TimeoutExpired:
        return {"fault": f"no answer within {SECONDS - 5:g} s", "url": ""}
    lines = done.stdout.strip().splitlines() or [""]
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it has ended without a word"])[-1]
        return {"fault": lines[-1] or said[:300], "url": ""}
    return {"fault": "", "url": lines[-1]}


def main() -> int:
    from resources.batch_store.resource import BatchStoreResource

    what, name, *rest = sys.argv[1:]
    try:
        found = BatchStoreResource(url=rest[0]) if rest else BatchStoreResource()
        store = found.open()
        if what == "write":
            store.leave(name)
        elif what == "remove":
            store.take_away(name)
        elif not store.left(name):
            print(f"it is not in {found.describe()} there")  # noqa: T201
            return 1
        print(found.describe())  # noqa: T201
    except EmbeddingsError as error:
        print(error)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
