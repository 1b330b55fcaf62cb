"""Steps of a run on Celery workers: handed over, watched, and stopped.

The loop is Dagster's, the one that its executors for Kubernetes, Docker and ECS have; the task that
does a step is dagster-celery's.
"""

import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from celery import states
from dagster._core.code_pointer import CodePointer
from dagster._core.definitions.reconstruct import ReconstructableJob
from dagster._core.events import DagsterEvent, EngineEventData
from dagster._core.execution.context.system import PlanOrchestrationContext
from dagster._core.execution.plan.plan import ExecutionPlan
from dagster._core.executor.step_delegating import StepDelegatingExecutor
from dagster._core.executor.step_delegating.step_handler.base import (
    CheckStepHealthResult,
    StepHandler,
    StepHandlerContext,
)
from dagster._serdes import pack_value
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_STEP_PRIORITY_TAG
from dagster_celery.tasks import create_task
from kombu.exceptions import ChannelError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from pipelines.framework.machines import workers
from pipelines.framework.machines.broker import QUEUE, BrokerError, celery_app, unreachable
from pipelines.framework.machines.reach import WorkerGone, check_same_batches, urls_of

if TYPE_CHECKING:
    from celery.result import AsyncResult

POLL_SECONDS, HEALTH_SECONDS = 0.5, 5
"""Between two looks at what steps have written down, and two at whether they are being done."""


class CelerySteps(StepDelegatingExecutor):
    """Does nothing before there is a worker for every queue of the run.

    Args:
        handler: What knows Celery.
        wait_seconds: For workers.
        options: As Dagster has them.
    """

    def __init__(self, handler: "StepsOnWorkers", *, wait_seconds: float, **options: Any) -> None:
        super().__init__(
            handler,
            sleep_seconds=POLL_SECONDS,
            check_step_health_interval_seconds=HEALTH_SECONDS,
            **options,
        )
        self._handler, self._wait_seconds = handler, wait_seconds

    def execute(
        self, plan_context: PlanOrchestrationContext, execution_plan: ExecutionPlan
    ) -> Generator[DagsterEvent, None, None]:
        job = plan_context.reconstructable_job
        assert isinstance(job, ReconstructableJob)
        steps = [execution_plan.get_step_by_key(key) for key in execution_plan.step_keys_to_execute]
        self._handler.begin(job)
        queues = {queue_of(step.tags) for step in steps}
        # A machine that is lost while it is asked keeps no run from the others.
        tried = Retrying(
            retry=retry_if_exception_type(WorkerGone), stop=stop_after_attempt(3), reraise=True
        )
        tried(self._check, queues, job.repository.pointer, urls_of(plan_context))
        yield from super().execute(plan_context, execution_plan)

    def _check(self, queues: set[str], code: CodePointer, urls: Sequence[Any]) -> None:
        app = self._handler.app
        found = workers.check_workers(app, queues, code, wait_seconds=self._wait_seconds)
        for url in urls:
            check_same_batches(app, found, url)


class StepsOnWorkers(StepHandler):
    """Puts steps into queues, and looks after whoever has taken them.

    Args:
        lost_seconds: How long a step may be with nobody who answers.
    """

    def __init__(self, lost_seconds: float) -> None:
        super().__init__()
        self._lost_seconds = lost_seconds
        self._tasks: dict[str, tuple[AsyncResult, str]] = {}
        self._well: dict[str, float] = {}

    @property
    def name(self) -> str:
        return "celery"

    def begin(self, job: ReconstructableJob) -> None:
        self._job, self.app = job, celery_app()
        self._task: Any = create_task(self.app)

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        arguments = step_handler_context.execute_step_args
        (step,) = arguments.step_keys_to_execute or []
        tags = step_handler_context.step_tags[step]
        queue = queue_of(tags)
        yield DagsterEvent.step_worker_starting(
            step_handler_context.get_step_context(step),
            message=f"Waiting for a worker of the queue {queue}.",
            metadata={},
        )
        signature = self._task.si(
            execute_step_args_packed=pack_value(arguments), executable_dict=self._job.to_dict()
        )
        try:
            sent = signature.apply_async(
                queue=queue,
                routing_key=f"{queue}.execute_plan",
                priority=int(tags.get(DAGSTER_CELERY_STEP_PRIORITY_TAG, 5)),
            )
        except Exception as error:  # each transport raises what its library does
            raise unreachable(error) from error
        self._tasks[step], self._well[step] = (sent, queue), time.monotonic()

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        (step,) = step_handler_context.execute_step_args.step_keys_to_execute or []
        if step not in self._tasks:
            return CheckStepHealthResult.unhealthy("the process that handed it over has ended")
        task, queue = self._tasks[step]
        try:
            state, told = task.state, task.info
            if state in (states.FAILURE, states.REVOKED):
                return CheckStepHealthResult.unhealthy(_ended(state, told))
            trouble = self._trouble(str(task.id), state, told, queue)
        except BrokerError as error:
            trouble = str(error)
        except Exception as error:  # of the library behind the results
            trouble = str(unreachable(error))
        if not trouble:
            self._well[step] = time.monotonic()
        elif time.monotonic() - self._well[step] > self._lost_seconds:
            return CheckStepHealthResult.unhealthy(
                f"{trouble}, for {self._lost_seconds:g} s by now; run it again, which repeats at "
                "most the batches that were under way"
            )
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        (step,) = step_handler_context.execute_step_args.step_keys_to_execute or []
        yield DagsterEvent.engine_event(
            step_handler_context.get_step_context(step),
            "Stopping the step at its worker.",
            EngineEventData(),
        )
        if step in self._tasks:
            # In a step Dagster makes an interrupt of it, so that the step lets go of what it holds.
            self._tasks[step][0].revoke(terminate=True, signal="SIGTERM")

    def _trouble(self, task: str, state: str, told: Any, queue: str) -> str:
        """Why a step may not be done by anybody; empty where it is, or will be."""
        if state == states.SUCCESS:
            return "its worker has done it, and what it wrote down of it has not arrived"
        if state == states.STARTED:
            worker = str(told.get("hostname")) if isinstance(told, dict) else ""
            return workers.lost(self.app, task, worker)
        if not workers.consumers(self.app, queue):
            return f"no worker takes steps from the queue {queue}"
        if self._waiting(queue) or workers.has(self.app, task):
            return ""
        return f"it is in the queue {queue} no more, and no worker has it"

    def _waiting(self, queue: str) -> int:
        with self.app.connection_for_read() as connection:
            try:
                found = connection.default_channel.queue_declare(queue, passive=True)
            except ChannelError:  # an empty queue may be none at all
                return 0
        return found.message_count


def queue_of(tags: Any) -> str:
    return tags.get(DAGSTER_CELERY_QUEUE_TAG, QUEUE)


def _ended(state: str, told: Any) -> str:
    if state == states.REVOKED:
        return "it was taken back from its worker"
    said = " ".join(str(told).split())[:300]
    if type(told).__name__ == "WorkerLostError":
        return f"the process that did it has ended ({said.rstrip('.')}); run it again"
    return (
        f"its worker could not begin it ({type(told).__name__}: {said.rstrip('.')}): see that it "
        "has the same code and reaches the same Dagster storage, and start it again"
    )
