"""When a pipeline runs by itself: its schedules, conditions, and how old its vectors may become."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets import run_tags
from assets.about import ASSETS, CANDIDATE, QUALITY
from pipelines.framework import sharding
from pipelines.framework.laying import laid_on_top
from pipelines.framework.maintenance import build_maintenance, daily
from pipelines.framework.old_runs import evaluation_job
from resources.core.errors import ConfigurationError
from resources.evaluation.resource import EvaluationResource
from resources.freshness.resource import FreshnessResource

if TYPE_CHECKING:
    from pipelines.framework.pipeline import EmbeddingPipeline

Jobs = list[Any]

AT_LOADING = ("freshness", "alerts")
"""Resources that definitions are made from; what a run's config says of them changes nothing."""
AGES = ("stored_vectors", "search_index")
"""Assets whose age is that of the vectors: for readers of the collection, and for searches."""


def build_jobs(
    pipeline: "EmbeddingPipeline", evaluation: EvaluationResource, prefix: str
) -> tuple[Jobs, list[dg.ScheduleDefinition]]:
    """The jobs that a pipeline's runs by themselves are of, and when those are.

    Args:
        pipeline: Itself.
        evaluation: How its searches are measured.
        prefix: Of its resources' keys.

    Raises:
        ConfigurationError: A fragment of the schedule is wrong, or evaluations are scheduled where
            nothing is measured.
    """
    name = pipeline.name
    selection: dg.AssetSelection = dg.AssetSelection.groups(name)
    quality = dg.AssetSelection.assets([name, QUALITY])
    if evaluation.chosen and pipeline.evaluation_schedule:
        selection -= quality
    job = dg.define_asset_job(
        name,
        selection=selection if pipeline.shards == 1 else sharding.of_source(name),
        tags={run_tags.PIPELINE: name},
        description=(
            f"Embed what is new or changed in {name}, and bring its index up to date."
            if pipeline.shards == 1
            else f"Find what is new or changed in {name}, and write a plan for each of its shards."
        ),
    )
    jobs: Jobs = [job]
    if pipeline.shards > 1:
        jobs += sharding.build_jobs(name, pipeline.shards, selection)
    schedules = list(_own(pipeline, job, prefix))
    if pipeline.keep_runs_days is not None:
        maintenance = build_maintenance(name, pipeline.keep_runs_days)
        jobs.append(maintenance)
        schedules.append(daily(maintenance, pipeline.timezone, pipeline.schedule_status))
    if pipeline.evaluation_schedule:
        measuring, schedule = _evaluation(pipeline, quality, evaluation)
        jobs.append(measuring)
        schedules.append(schedule)
    return jobs, schedules


def _own(pipeline: "EmbeddingPipeline", job: Any, prefix: str) -> Sequence[dg.ScheduleDefinition]:
    if not pipeline.schedule:
        if pipeline.schedule_configs:
            raise ConfigurationError(
                f"pipeline {pipeline.name} has schedule_configs and no schedule, so nothing would "
                "read them: add `schedule=…`, or leave them out"
            )
        return []
    given: dict[str, Any] | None = None
    if pipeline.schedule_configs:
        given = laid_on_top(pipeline.schedule_configs, prefix)
        for key in AT_LOADING:
            if prefix + key in given["resources"]:
                raise ConfigurationError(
                    f"schedule_configs of pipeline {pipeline.name} set `{key}`, which is read as "
                    "the definitions load and not from a run's config: put it into `configs`"
                )
        pipeline.resources(pipeline.schedule_configs)  # they may contradict its own files
    schedule = dg.ScheduleDefinition(
        name=f"{pipeline.name}_schedule",
        job=job,
        cron_schedule=pipeline.schedule,
        execution_timezone=pipeline.timezone,
        default_status=pipeline.schedule_status,
        run_config=given,
        tags={run_tags.REASON: "schedule"},
        description="Re-embed what changed; costs seconds where nothing did.",
    )
    return [schedule]


def _evaluation(
    pipeline: "EmbeddingPipeline", selection: dg.AssetSelection, evaluation: EvaluationResource
) -> tuple[Any, dg.ScheduleDefinition]:
    """The job that only measures, and when it does."""
    if not evaluation.chosen:
        raise ConfigurationError(
            f"pipeline {pipeline.name} has evaluation_schedule={pipeline.evaluation_schedule!r}, "
            "but its files choose no judged queries: add `evaluation: {config: {queries: …}}`, or "
            "leave the schedule out"
        )
    name = evaluation_job(pipeline.name)
    job = dg.define_asset_job(
        name,
        selection=selection,
        tags={run_tags.PIPELINE: pipeline.name},
        description=f"Measure how good searches of {pipeline.name} are.",
    )
    return job, dg.ScheduleDefinition(
        name=f"{name}_schedule",
        job=job,
        cron_schedule=pipeline.evaluation_schedule or "",
        execution_timezone=pipeline.timezone,
        default_status=pipeline.schedule_status,
        tags={run_tags.REASON: "schedule"},
        description="Measure how good searches are; costs seconds where nothing changed.",
    )


def timed(
    pipeline: "EmbeddingPipeline",
    assets: Sequence[dg.AssetsDefinition | dg.AssetSpec],
    freshness: Any,
) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The assets of a pipeline with the condition that starts it, and with what is promised.

    The condition stands on the first of them; the others go with it, in the same run.

    Raises:
        ConfigurationError: What is promised contradicts itself.
    """
    assert isinstance(freshness, FreshnessResource)
    say = _say(pipeline, freshness)
    return [
        each.map_asset_specs(say) if isinstance(each, dg.AssetsDefinition) else each
        for each in assets
    ]


def _say(
    pipeline: "EmbeddingPipeline", freshness: FreshnessResource
) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    promised = freshness.promised
    policy = None
    if promised is not None:
        warn, fail = promised
        policy = dg.FreshnessPolicy.time_window(fail_window=fail, warn_window=warn)
    starts = pipeline.automation_condition
    follows = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested())
    ages, apart = AGES, {QUALITY} if pipeline.evaluation_schedule is not None else set()
    if pipeline.shards > 1:
        # Of shards the newest alone would tell; and those of a plan are launched by a sensor.
        ages, apart = AGES[-1:], {*ASSETS, CANDIDATE, QUALITY}

    def say(spec: dg.AssetSpec) -> dg.AssetSpec:
        name = spec.key.path[-1]
        if policy is not None and name in ages:
            spec = spec.replace_attributes(freshness_policy=policy)
        if starts is not None and name == "source_documents":
            spec = spec.replace_attributes(automation_condition=starts)
        elif starts is not None and name not in apart:
            spec = spec.replace_attributes(automation_condition=follows)
        return spec

    return say


def automation(pipeline: "EmbeddingPipeline") -> list[dg.SensorDefinition]:
    """What asks a pipeline's condition, where it has one: a sensor of its own, so that its runs
    can be told from others and each pipeline is switched on by itself.
    """
    if pipeline.automation_condition is None:
        return []
    running = pipeline.schedule_status is dg.DefaultScheduleStatus.RUNNING
    status = dg.DefaultSensorStatus.RUNNING if running else dg.DefaultSensorStatus.STOPPED
    sensor = dg.AutomationConditionSensorDefinition(
        name=f"{pipeline.name}_automation",
        target=dg.AssetSelection.groups(pipeline.name),
        run_tags={run_tags.PIPELINE: pipeline.name, run_tags.REASON: "automation"},
        default_status=status,
        description="Runs the pipeline whenever its automation condition holds.",
    )
    return [sensor]
