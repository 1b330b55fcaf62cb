"""Whether there are workers for a run, before it begins: of each queue, and with the code."""

import importlib.util
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster._core.code_pointer import CodePointer

from pipelines.framework.machines.broker import VARIABLE, BrokerError, check_broker, unreachable

if TYPE_CHECKING:
    from celery import Celery

READY, REACHES = "embeddings_ready", "embeddings_reaches"
"""The commands that our workers answer: see `pipelines.framework.machines.app`."""
APP = "pipelines.framework.machines.app"

ANSWER_SECONDS = 1.0


@dataclass(frozen=True)
class Worker:
    """What a worker says of itself.

    Attributes:
        missing: Why it cannot load the pipeline's module; empty where it can.
        pool: How it does several tasks at once, as Celery's module of it.
    """

    name: str
    queues: frozenset[str]
    missing: str = ""
    pool: str = "celery.concurrency.prefork"

    @property
    def fault(self) -> str:
        if self.missing:
            return (
                f"the worker {self.name} does not have the pipeline's code ({self.missing}): "
                "install what Dagster has there as well, start it in the project's folder, and "
                "start it again whenever the code has changed"
            )
        if not self.pool.endswith("prefork"):
            return (
                f"the worker {self.name} runs with --pool {self.pool.rpartition('.')[2]}, and "
                "says nothing while it works, or cannot be stopped: start it without --pool"
            )
        return ""


def check_workers(
    app: "Celery", queues: Iterable[str], code: CodePointer, *, wait_seconds: float
) -> list[str]:
    """See that every queue has a worker, and that whoever may take a step can do it.

    Returns:
        The names of all that may.

    Raises:
        BrokerError: The broker cannot be reached, no worker takes steps from a queue, or one that
            does cannot do them.
    """
    check_broker(app)
    needed = set(queues)
    until = time.monotonic() + wait_seconds
    while True:
        found = [each for each in ask(app, where(code)) if each.queues & needed]
        lacking = needed - {queue for each in found for queue in each.queues}
        for worker in found:
            if worker.fault:
                raise BrokerError(worker.fault)
        if not lacking:
            return [each.name for each in found]
        if time.monotonic() > until:
            raise BrokerError(_nobody(app, sorted(lacking), wait_seconds))


def ask(app: "Celery", code: Mapping[str, str]) -> list[Worker]:
    """Our workers that answer within a second."""
    replies = broadcast(app, READY, {"code": dict(code)})
    return [
        Worker(name, frozenset(said["queues"]), said["missing"], said["pool"])
        for name, said in replies.items()
        if isinstance(said, dict) and "queues" in said
    ]


def consumers(app: "Celery", queue: str) -> list[str]:
    """Workers, ours or not, that take steps from a queue."""
    replies = broadcast(app, "active_queues", {})
    return sorted(
        name
        for name, found in replies.items()
        if isinstance(found, list) and any(each.get("name") == queue for each in found)
    )


def has(app: "Celery", task: str) -> bool:
    """Whether a worker says that it has a task."""
    replies = broadcast(app, "query_task", {"ids": [task]})
    return any(isinstance(said, dict) and task in said for said in replies.values())


def lost(app: "Celery", task: str, worker: str) -> str:
    """Why a task that a worker has begun is not done by it any more; empty where it is."""
    replies = broadcast(app, "query_task", {"ids": [task]}, [worker])
    said = replies.get(worker)
    if said is None:
        return f"the worker {worker} had begun it, and does not answer"
    if isinstance(said, dict) and task not in said:  # it goes by the name of the one before
        return f"the worker {worker} had begun it, has been started anew and does not have it"
    return ""


def where(code: CodePointer) -> dict[str, str]:
    """What a worker has to find, in a form that travels."""
    names = {"module": "module", "python_file": "file", "working_directory": "folder"}
    found = {ours: getattr(code, theirs, None) for theirs, ours in names.items()}
    return {name: str(value) for name, value in found.items() if value}


def missing(code: Mapping[str, str]) -> str:
    """What of a pipeline's code is not here; looked for as Dagster loads it, without loading it."""
    folder, file, module = (code.get(name, "") for name in ("folder", "file", "module"))
    if file:
        path = os.path.join(folder, file)
        return "" if os.path.isfile(path) else f"there is no file {path}"
    if not module:
        return ""
    before = list(sys.path)
    sys.path[:0] = [folder] if folder else []
    try:
        found = importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        found = False
    finally:
        sys.path[:] = before
    return "" if found else f"there is no module {module}"


def broadcast(
    app: "Celery",
    command: str,
    arguments: Mapping[str, Any],
    destination: Sequence[str] | None = None,
    *,
    seconds: float = ANSWER_SECONDS,
) -> dict[str, Any]:
    """What workers answer to a command, by their names; those that do not in time are left out."""
    try:
        replies = app.control.broadcast(
            command,
            arguments=dict(arguments),
            destination=destination,
            reply=True,
            timeout=seconds,
            limit=len(destination) if destination else None,
        )
    except Exception as error:  # each transport raises what its library does
        raise unreachable(error) from error
    return {name: said for reply in replies or [] for name, said in reply.items()}


def _nobody(app: "Celery", queues: Sequence[str], seconds: float) -> str:
    others = [name for queue in queues for name in consumers(app, queue)]
    named = " and ".join(queues)
    if others:
        return (
            f"{' and '.join(others)} takes steps from the queue {named}, but is no worker of this "
            f"project: start it as `celery -A {APP} worker -Q {','.join(queues)}`"
        )
    return (
        f"no Celery worker takes steps from the queue {named} (asked for {seconds:g} s): start "
        f"one with `celery -A {APP} worker -Q {','.join(queues)}` and the same {VARIABLE}"
    )
