"""The executor that hands a run's steps to Celery workers; loads nothing of Celery by itself."""

from typing import Any

import dagster as dg
from dagster._core.execution.retries import RetryMode, get_retries_config

LOST_SECONDS, WAIT_SECONDS = 60, 30


@dg.executor(
    name="celery",
    config_schema={
        "worker_wait_seconds": dg.Field(
            int,
            default_value=WAIT_SECONDS,
            description="How long a run waits, before its first step, for a worker of every queue "
            "that it needs.",
        ),
        "worker_lost_seconds": dg.Field(
            int,
            default_value=LOST_SECONDS,
            description="After so long without a sign of its worker a step has failed.",
        ),
        "retries": get_retries_config(),
    },
    requirements=dg.multiple_process_executor_requirements(),
)
def celery_steps(context: dg.InitExecutorContext) -> Any:
    """Steps on Celery workers, a queue by op tag `dagster-celery/queue`.

    The workers, the application and its task are dagster-celery's, the loop over the steps is
    Dagster's. dagster-celery's own loop waits for ever for a step whose worker has been killed.
    """
    from pipelines.framework.machines.steps import CelerySteps, StepsOnWorkers

    config: Any = context.executor_config
    return CelerySteps(
        StepsOnWorkers(config["worker_lost_seconds"]),
        retries=RetryMode.from_config(config["retries"]) or RetryMode.ENABLED,
        wait_seconds=config["worker_wait_seconds"],
    )
