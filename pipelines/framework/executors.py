"""What carries out the steps of a run: chosen by the deployment, never by a pipeline's code."""

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import dagster as dg

from resources.core.errors import ConfigurationError

VARIABLE = "EMBEDDINGS_EXECUTOR"
"""Names one of `EXECUTORS`, where Dagster is started; read when definitions load."""

EXECUTORS = ("in_process", "multiprocess", "celery", "k8s")
_NEEDS = {
    "celery": ("dagster_celery", "pip install 'mongodb-embedding-pipelines[celery]'"),
    "k8s": ("dagster_k8s", "pip install dagster-k8s, in the version that goes with your dagster"),
}

_here: ContextVar[bool] = ContextVar("here", default=False)


@contextmanager
def in_this_process() -> Iterator[None]:
    """Definitions that are built meanwhile do all steps in one process, whatever is chosen.

    For who waits for a run and reads what came of it, as `embeddings run` does.
    """
    token = _here.set(True)
    try:
        yield
    finally:
        _here.reset(token)


def executor() -> dg.ExecutorDefinition:
    """The chosen executor; without a choice all steps of a run are done in one process.

    The four assets follow one another: a process for each would only load the model and connect
    again, unless it stays, as Celery's do.

    Raises:
        ConfigurationError: There is no such executor, or its package is not installed.
    """
    chosen = "in_process" if _here.get() else os.environ.get(VARIABLE, "").strip() or "in_process"
    if chosen not in EXECUTORS:
        raise ConfigurationError(
            f"{VARIABLE} is {chosen!r}, and there is no such executor: choose one of "
            f"{', '.join(EXECUTORS)}, or leave it out"
        )
    package, way_out = _NEEDS.get(chosen, ("dagster", ""))
    if importlib.util.find_spec(package) is None:
        raise ConfigurationError(
            f"{VARIABLE} is {chosen!r}, and {package} is not installed: {way_out}; or choose "
            "another executor"
        )
    if chosen == "celery":
        from pipelines.framework.machines.executor import celery_steps

        return celery_steps
    if chosen == "k8s":
        from dagster_k8s import k8s_job_executor  # pyright: ignore[reportMissingImports]

        return k8s_job_executor
    return dg.multiprocess_executor if chosen == "multiprocess" else dg.in_process_executor
