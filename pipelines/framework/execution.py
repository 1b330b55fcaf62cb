"""Run a pipeline's job in this process, recorded in the Dagster instance like any other run."""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import DagsterEvent, RunFailureReason
from dagster._core.execution.api import execute_run
from dagster._core.execution.execution_result import ExecutionResult
from dagster._core.storage.tags import PARTITION_NAME_TAG
from dagster._core.utils import make_new_run_id

from assets import run_tags
from assets.about import PROMOTED
from assets.report import Outcome, outcomes
from assets.report.merged import merged
from assets.work.candidate import Candidate
from assets.work.comparing import Planned
from assets.work.embedded import Embedded
from assets.work.proving import Indexed
from assets.work.quality import Measured
from assets.work.storing import Stored
from pipelines.framework.catalog import as_pipeline, missing_variables
from pipelines.framework.code_location import CodeLocation, code_location
from pipelines.framework.dead_runs import fail_dead_runs, process_tag
from pipelines.framework.executors import in_this_process
from pipelines.framework.instance import project_instance
from pipelines.framework.laying import laid_on_top
from pipelines.framework.location import resource_prefix
from pipelines.framework.outcome import RunOutcome
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.framework.sharding import STORED as STORED_VECTORS
from pipelines.framework.sharding import steps, to_carry_out
from pipelines.framework.step_failures import step_failure
from resources.core.errors import ConfigurationError, EmbeddingsError
from resources.core.markdown import unescaped


class RunFailed(EmbeddingsError):
    """A step failed; the message is the step's own, and a failed check's says what it found."""


def run(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    reason: str = "command line",
) -> RunOutcome:
    """Materialize all assets: the four, and what is measured of searches where anything is.

    Of a pipeline in shards, in runs that follow one another: the plan, its shards, the index.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        reason: Why there is this run, as a tag of it.

    Raises:
        ConfigurationError: The run config is wrong, or an environment variable is not set.
        RunFailed: A step failed.
        KeyboardInterrupt: It was interrupted; Dagster has written that down.
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
    place, notes = _place(pipeline)
    # As the code location knows it, so that what runs here can be executed again there.
    prefix = resource_prefix(pipeline.name) if place and place.shared else ""
    run_config = laid_on_top(overrides, prefix)
    run_config.setdefault("loggers", {"brief": {}})
    if "retries" not in pipeline.values(overrides)["runs"]:  # somebody waits, and can try again
        runs = run_config["resources"].setdefault(f"{prefix}runs", {"config": {}})
        runs["config"]["retries"] = 0
    with in_this_process():  # what comes of it is read here
        definitions = pipeline.definitions(prefix)
    with project_instance() as instance, outcomes() as found:

        def execute(name: str, shard: str | None = None) -> ExecutionResult:
            job = definitions.resolve_job_def(name)
            fail_dead_runs(instance, job.name)
            # `execute_in_process` takes no origin.
            run_id = make_new_run_id()
            of_shard = {PARTITION_NAME_TAG: shard} if shard else {}
            created = instance.create_run_for_job(
                job,
                run_id=run_id,
                run_config=run_config,
                tags={**job.run_tags, run_tags.REASON: reason, **process_tag(run_id), **of_shard},
                remote_job_origin=place.of_job(job.name) if place else None,
                job_code_origin=place.code_of_job(job.name) if place else None,
            )
            result = execute_run(InMemoryJob(job), created, instance)
            if not result.success:
                if any(map(_interrupts, result.all_events)):
                    raise KeyboardInterrupt
                raise RunFailed(f"the shard {shard}, " * bool(shard) + _reason(result))
            return result

        results = [execute(pipeline.name)]
        if pipeline.shards > 1:
            todo = _shards(found, instance, pipeline)
            results += [execute(name, shard) for name, shard in steps(pipeline.name, todo)]
            of = f"{len(todo)} of {pipeline.shards} shards"
            notes.append(
                f"{of} had something to do, and followed one another in this process, in runs of "
                "their own; the Dagster UI and its daemon run them side by side"
            )
    checks = [each for result in results for each in result.get_asset_check_evaluations()]
    return RunOutcome(
        pipeline.name,
        results[0].run_id,
        *_one_of_each(merged(found)),
        failed_checks=[
            (evaluation.check_name, unescaped(evaluation.description or ""))
            for evaluation in checks
            if not evaluation.passed
        ],
        promoted=any(
            PROMOTED in evaluation.metadata and evaluation.metadata[PROMOTED].value is True
            for evaluation in checks
        ),
        notes=notes,
    )


def _shards(
    found: Sequence[Outcome], instance: dg.DagsterInstance, pipeline: EmbeddingPipeline
) -> list[str]:
    """The shards of the plan that was just made that are carried out.

    One at least, which has nothing to do then: to tell what is stored.
    """
    work = next((outcome.work for outcome in found if isinstance(outcome, Planned)), {})
    stored = dg.AssetKey([pipeline.name, STORED_VECTORS])
    todo = to_carry_out(work, list(instance.get_materialized_partitions(stored)))
    return todo or list(work)[:1]


def _place(pipeline: EmbeddingPipeline) -> tuple[CodeLocation | None, list[str]]:
    """Where the Dagster UI has the pipeline, and a note where it has not."""
    try:
        return code_location(pipeline), []
    except ConfigurationError as error:
        return None, [f"the Dagster UI shows this run with all runs, but on no job's page: {error}"]


def _one_of_each(
    found: Sequence[Outcome],
) -> tuple[Planned, Embedded, Stored, Indexed, Measured | None, Candidate | None]:
    by = {type(outcome): outcome for outcome in found}
    candidate, measured = by.get(Candidate), by.get(Measured)
    assert candidate is None or isinstance(candidate, Candidate)
    assert measured is None or isinstance(measured, Measured)
    if Planned not in by and candidate:  # what serves is left as it is
        kept = (candidate.planned, candidate.embedded, candidate.stored, candidate.indexed)
        return *kept, measured, candidate
    planned, embedded, stored, indexed = (by[it] for it in (Planned, Embedded, Stored, Indexed))
    assert isinstance(planned, Planned)
    assert isinstance(embedded, Embedded)
    assert isinstance(stored, Stored)
    assert isinstance(indexed, Indexed)
    return planned, embedded, stored, indexed, measured, candidate


def _reason(result: ExecutionResult) -> str:
    """The sentences of the steps that failed, else what Dagster says."""
    said = [step_failure(event) for event in result.all_events if event.is_step_failure]
    for event in [] if said else result.all_events:
        if event.is_failure and event.message:
            return event.message
    return "; besides, ".join(said) or "the run failed; see it in the Dagster UI"


def _interrupts(event: DagsterEvent) -> bool:
    data = event.job_failure_data if event.is_job_failure else None
    return data is not None and data.failure_reason is RunFailureReason.UNEXPECTED_TERMINATION
