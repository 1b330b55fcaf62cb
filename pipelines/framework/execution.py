"""Run a pipeline's job in this process, recorded in the Dagster instance like any other run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from assets import run_tags
from assets.report import Outcome, outcomes
from assets.work.comparing import Planned
from assets.work.embedding import Embedded
from assets.work.proving import Indexed
from assets.work.storing import Stored
from pipelines.framework.catalog import as_pipeline, missing_variables
from pipelines.framework.instance import project_instance
from pipelines.framework.pipeline import RESOURCES, EmbeddingPipeline
from pipelines.framework.run_config import merge, read_run_config, resource_values
from resources.core.errors import ConfigurationError, EmbeddingsError
from resources.core.markdown import unescaped

ASSETS = ("source_documents", "embedding_batches", "stored_vectors", "search_index")


class RunFailed(EmbeddingsError):
    """A step failed; the message is the step's own."""


@dataclass(frozen=True)
class RunOutcome:
    """What a run did, asset by asset.

    Attributes:
        run_id: Of the Dagster run.
        failed_checks: Name and description of the checks that did not pass.
    """

    run_id: str
    planned: Planned
    embedded: Embedded
    stored: Stored
    indexed: Indexed
    failed_checks: list[tuple[str, str]]


def run(pipeline: EmbeddingPipeline | str, overrides: Sequence[str | Path] = ()) -> RunOutcome:
    """Materialize all four assets.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.

    Raises:
        ConfigurationError: The run config is wrong, or an environment variable is not set.
        RunFailed: A step failed.
    """
    pipeline = as_pipeline(pipeline)
    # Everything that can be checked is, before a run exists.
    missing = missing_variables(pipeline, overrides)
    if missing:
        raise ConfigurationError(
            f"pipeline {pipeline.name} needs {' and '.join(missing)}: set "
            f"{'them' if len(missing) > 1 else 'it'} in the environment, or choose another "
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
    with project_instance() as instance, outcomes() as found:
        result = definitions.resolve_job_def(pipeline.name).execute_in_process(
            run_config=run_config,
            instance=instance,
            raise_on_error=False,
            tags={run_tags.REASON: "command line"},
        )
    if not result.success:
        raise RunFailed(_reason(result))
    return RunOutcome(
        result.run_id,
        *_one_of_each(found),
        failed_checks=[
            (evaluation.check_name, unescaped(evaluation.description or ""))
            for evaluation in result.get_asset_check_evaluations()
            if not evaluation.passed
        ],
    )


def _one_of_each(found: Sequence[Outcome]) -> tuple[Planned, Embedded, Stored, Indexed]:
    planned, embedded, stored, indexed = found
    assert isinstance(planned, Planned)
    assert isinstance(embedded, Embedded)
    assert isinstance(stored, Stored)
    assert isinstance(indexed, Indexed)
    return planned, embedded, stored, indexed


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
