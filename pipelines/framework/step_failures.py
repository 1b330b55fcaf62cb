"""What a step failed of, in one sentence."""

from typing import Any

from dagster._core.events import DagsterEvent

from assets.about import ASSETS, CANDIDATE, QUALITY


def step_failure(event: DagsterEvent) -> str:
    """What a step failed of, as a sentence that begins with its asset."""
    step, data = (event.step_key or "").split("__", 1)[-1], event.step_failure_data
    # A check's step is named after its asset too, and its sentence names the check.
    asset = next((asset for asset in (*ASSETS, CANDIDATE, QUALITY) if step.startswith(asset)), step)
    if data.user_failure_data and data.user_failure_data.description:
        return f"{asset}: {data.user_failure_data.description}"
    return f"{step}: {_innermost(data.error) if data.error else 'failed'}"


def _innermost(error: Any) -> str:
    while error.cause:
        error = error.cause
    return error.message.strip()
