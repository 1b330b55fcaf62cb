"""Run a pipeline's job in this process, recorded in the Dagster instance like any other run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.framework.catalog import find_pipeline, unset_variables
from pipelines.framework.instance import project_instance
from pipelines.framework.pipeline import RESOURCES
from pipelines.framework.run_config import merge, read_run_config, resource_values
from resources.core.errors import ConfigurationError, EmbeddingsError

ASSETS = ("source_documents", "embedding_batches", "stored_vectors", "search_index")


class RunFailed(EmbeddingsError):
    """A step failed; the message is the step's own."""


@dataclass(frozen=True)
class RunOutcome:
    """What a run did.

    Attributes:
        run_id: Of the Dagster run.
        metadata: Of each asset, by its name without the pipeline's prefix.
        failed_checks: Name and description of the checks that did not pass.
    """

    run_id: str
    metadata: Mapping[str, Mapping[str, Any]]
    failed_checks: list[tuple[str, str]]


def run(pipeline_name: str, overrides: Sequence[str | Path] = ()) -> RunOutcome:
    """Materialize all four assets.

    Raises:
        ConfigurationError: The run config is wrong, or an environment variable is not set.
        RunFailed: A step failed.
    """
    pipeline = find_pipeline(pipeline_name)
    # Everything that can be checked is, before a run exists.
    resources = pipeline.resources(overrides).values()
    missing = [name for resource in resources for name in unset_variables(resource)]
    if missing:
        raise ConfigurationError(
            f"pipeline {pipeline.name} needs {' and '.join(dict.fromkeys(missing))}: set "
            f"{'them' if len(set(missing)) > 1 else 'it'} in the environment, or choose another "
            "provider or deployment with `-c`, such as `-c embedder/minilm.yaml` or "
            "`-c mongodb/embedded.yaml`"
        )
    run_config: dict[str, Any] = {}
    for file in overrides:
        run_config = merge(run_config, read_run_config(file))
    # Dagster would take two variants of a union, from two files, for both chosen.
    given = resource_values(overrides, RESOURCES)
    run_config["resources"] = {key: {"config": config} for key, config in given.items() if config}
    run_config.setdefault("loggers", {"brief": {}})
    definitions = pipeline.definitions()
    with project_instance() as instance:
        result = definitions.resolve_job_def(pipeline.name).execute_in_process(
            run_config=run_config,
            instance=instance,
            raise_on_error=False,
            tags={"embeddings/reason": "command line"},
        )
    if not result.success:
        raise RunFailed(_reason(result))
    return RunOutcome(
        result.run_id,
        {name: _metadata(result, dg.AssetKey([pipeline.name, name])) for name in ASSETS},
        [
            (evaluation.check_name, evaluation.description or "")
            for evaluation in result.get_asset_check_evaluations()
            if not evaluation.passed
        ],
    )


def _metadata(result: dg.ExecuteInProcessResult, key: dg.AssetKey) -> dict[str, Any]:
    for event in result.get_asset_materialization_events():
        if event.asset_key == key:
            found = event.step_materialization_data.materialization.metadata
            return {name: value.value for name, value in found.items()}
    return {}


def _reason(result: dg.ExecuteInProcessResult) -> str:
    """The sentence of the step that failed first, else what Dagster says."""
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            step = (event.step_key or "").split("__", 1)[-1]
            if data.user_failure_data and data.user_failure_data.description:
                return f"{step}: {data.user_failure_data.description}"
            if data.error:
                return f"{step}: {_innermost(data.error)}"
    for event in result.all_events:
        if event.is_failure and event.message:
            return event.message
    return "the run failed; see it in the Dagster UI"


def _innermost(error: Any) -> str:
    while error.cause:
        error = error.cause
    return error.message.strip()
