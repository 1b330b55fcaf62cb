"""What a Celery worker is started with: `celery -A pipelines.framework.machines.app worker`."""

from typing import Any

from celery.worker.control import inspect_command
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task, create_task

from pipelines.framework.environment import load_environment
from pipelines.framework.machines.broker import celery_app
from pipelines.framework.machines.reach import reached
from pipelines.framework.machines.workers import REACHES, READY, missing
from resources.core import warm
from resources.core.paths import project_root

load_environment(project_root())
# Its processes do one step after another, of many runs: what is dear to make is kept.
warm.stay()

app = celery_app()
execute_plan = create_task(app)
execute_job = create_execute_job_task(app)
resume_job = create_resume_job_task(app)


@inspect_command(name=READY)
def ready(state: Any, code: dict[str, str] | None = None, **_: Any) -> dict[str, Any]:
    """What this worker takes steps from, and whether it finds the code of a pipeline."""
    consumer = state.consumer.task_consumer
    return {
        "queues": [queue.name for queue in consumer.queues] if consumer else [],
        "missing": missing(code or {}),
        "pool": type(state.consumer.pool).__module__,
    }


@inspect_command(name=REACHES)
def reaches(state: Any, url: Any = None, *, create: bool = False, **_: Any) -> dict[str, str]:
    """Which batch store this worker finds."""
    return reached(url, create=create)
