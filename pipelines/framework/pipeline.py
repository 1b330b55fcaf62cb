"""A pipeline: the assets of one corpus, its resources, its jobs and its schedules."""

import os
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from dagster import ConfigurableResource

from assets.about import (
    About,
    Dependency,
    Settings,
    check_owners,
    check_tags,
    dependencies,
    named,
)
from assets.candidate_checks import build_candidate_checks
from assets.candidate_space import build_candidate_space
from assets.checks import build_checks
from assets.embedding_batches import build_embedding_batches
from assets.quality_checks import build_quality_checks
from assets.search_index import build_search_index
from assets.search_quality import build_search_quality
from assets.source_documents import build_source_documents
from assets.stored_vectors import build_stored_vectors
from assets.work.configured import RESOURCES
from pipelines.framework.alerts import alerting
from pipelines.framework.brief import brief_logger
from pipelines.framework.changing import build_changing_jobs
from pipelines.framework.executors import executor
from pipelines.framework.overruling import Overruled, overruled
from pipelines.framework.run_config import build_resources, resource_values, text_of
from pipelines.framework.scheduling import automation, build_jobs, timed
from pipelines.framework.sensing.sensor import change_sensors
from pipelines.framework.sensing.shards import build_sensors
from resources.core.errors import ConfigurationError
from resources.evaluation.resource import EvaluationResource
from resources.search_index.resource import SearchIndexResource
from resources.sources.resource import SourceResource
from resources.vector_store.resource import VectorStoreResource

VARIABLE = "EMBEDDINGS_CONFIGS"
"""Names run configs, separated by commas, that apply to every pipeline of a process."""

_declaring: ContextVar[bool] = ContextVar("declaring", default=False)


@contextmanager
def declarations_only() -> Iterator[None]:
    """Modules imported meanwhile build their `defs` when those are asked for.

    For who wants only their pipelines: to build costs more than all the rest of the import.
    """
    token = _declaring.set(True)
    try:
        yield
    finally:
        _declaring.reset(token)


@dataclass(frozen=True)
class EmbeddingPipeline:
    """What a module in `pipelines/` declares.

    Attributes:
        name: Prefix of the asset keys, name of the group and of the job.
        configs: YAML run configs, relative to `configs/`; a later one wins.
        schedule: When to embed again, as cron; None for never by itself.
        timezone: Of the schedule.
        schedule_status: Whether they, and what asks `automation_condition`, are on from the start.
        schedule_configs: Run config fragments on top for the runs of `schedule`, as `-c`.
        automation_condition: When to embed again, for who prefers Dagster's conditions: on
            `source_documents`; the other assets go with it.
        keep_runs_days: How long Dagster remembers runs that changed nothing; a job of its own,
            `<name>_maintenance`, removes older ones every night. None: as long as it is there.
        owners: Whose the assets are: e-mail addresses, or teams as `team:search`.
        tags: Of the assets, to find them by.
        deps: The assets that fill the source, so that the pipeline hangs below them: keys (as text
            with `/` between its parts), or their definitions. Without any, a collection or a file
            is an asset of its own, in which all pipelines over it meet.
        evaluation_schedule: When to measure how good searches are, as cron: in a job of its own,
            `<name>_evaluation`. None: with every run, after its index. Either way only where
            `evaluation` chooses queries.
        shards: In how many pieces, by document, texts are embedded and stored: more than one is a
            partition each, in runs of their own (see `pipelines.framework.sharding`).
        on_change: Run when the source changes, by a sensor: over just the documents that changed,
            where it is a collection of a replica set; switched on as `schedule_status` says.

    Raises:
        ConfigurationError: Dagster takes no such owner, tag or key; it is kept for no time, or in
            no shard; or a schedule for evaluations stands where nothing is measured.
    """

    name: str
    configs: Sequence[str | Path]
    schedule: str | None = None
    timezone: str = "UTC"
    schedule_status: dg.DefaultScheduleStatus = dg.DefaultScheduleStatus.STOPPED
    schedule_configs: Sequence[str | Path] = ()
    automation_condition: dg.AutomationCondition | None = None
    keep_runs_days: float | None = 30
    owners: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    deps: Sequence[Dependency] = ()
    evaluation_schedule: str | None = None
    shards: int = 1
    on_change: bool = False

    def __post_init__(self) -> None:
        if self.keep_runs_days is not None and self.keep_runs_days <= 0:
            raise ConfigurationError(
                f"pipeline {self.name} has keep_runs_days={self.keep_runs_days:g}: say how many "
                "days, or None to keep all runs"
            )
        if self.shards < 1:
            raise ConfigurationError(
                f"pipeline {self.name} has shards={self.shards}: 1 is a pipeline that is not "
                "divided, more are run side by side"
            )
        check_owners(self.owners)
        check_tags(self.tags)
        dependencies(self.deps)

    def values(self, overrides: Sequence[str | Path] = ()) -> dict[str, dict[str, Any]]:
        """Settings of every resource in run config form, with other files on top.

        Between the pipeline's own files and `overrides` come those that the environment asks
        of every pipeline, so that one code base runs against different deployments.
        """
        return resource_values(self._files(overrides), RESOURCES)

    def texts(self, overrides: Sequence[str | Path] = ()) -> list[str]:
        """What stands in the files that `values` reads."""
        return [text_of(file) for file in self._files(overrides)]

    def overruled(self) -> list[Overruled]:
        """Choices of the pipeline's own files that a fragment after them takes back.

        Raises:
            ConfigurationError: As `values`.
        """
        return overruled(self.configs, RESOURCES)

    def _files(self, overrides: Sequence[str | Path]) -> list[str | Path]:
        environment = [name for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
        return [*self.configs, *(name.strip() for name in environment), *overrides]

    def resources(self, overrides: Sequence[str | Path] = ()) -> dict[str, ConfigurableResource]:
        """Every resource as this pipeline configures it.

        Environment variables are not looked up yet; a run does that, or `open_pipeline`.

        Raises:
            ConfigurationError: Settings that contradict each other.
        """
        return _checked(build_resources(self.values(overrides), RESOURCES))

    def definitions(self, resource_prefix: str = "") -> dg.Definitions:
        """What Dagster loads.

        Args:
            resource_prefix: Before the keys of the resources, where several pipelines live in one
                code location: see `pipelines.framework.location`.

        Raises:
            ConfigurationError: The YAML is wrong; the message names file and path.
        """
        if _declaring.get():
            lazy = dg.definitions(lambda: self._definitions(resource_prefix))
            return typing.cast(dg.Definitions, lazy)  # Dagster loads either
        return self._definitions(resource_prefix)

    def _definitions(self, resource_prefix: str) -> dg.Definitions:
        values = self.values()
        resources = _checked(build_resources(values, RESOURCES))
        (origin,) = values["source"].get("origin") or {"texts": {}}
        (provider,) = values["embedder"].get("provider") or {"sentence_transformers": {}}
        evaluation = resources["evaluation"]
        assert isinstance(evaluation, EvaluationResource)
        about = self._about(resources)
        jobs, schedules = build_jobs(self, evaluation, resource_prefix)
        return dg.Definitions(
            assets=timed(
                self,
                [
                    *([about.external] if about.external else []),
                    build_source_documents(
                        about,
                        resource_prefix,
                        {_KINDS.get(origin, "file")},
                        warnings=list(map(str, self.overruled())),
                    ),
                    build_embedding_batches(
                        about, resource_prefix, {_KINDS.get(provider, provider), "parquet"}
                    ),
                    build_stored_vectors(about, resource_prefix),
                    build_search_index(about, resource_prefix),
                    build_candidate_space(about, resource_prefix),
                    *([build_search_quality(about, resource_prefix)] if evaluation.chosen else []),
                ],
                resources["freshness"],
            ),
            asset_checks=[
                *build_checks(self.name, resource_prefix, self.shards),
                build_candidate_checks(self.name, resource_prefix),
                *(build_quality_checks(self.name, resource_prefix) if evaluation.chosen else []),
            ],
            jobs=[*jobs, *build_changing_jobs(self.name, resource_prefix)],
            schedules=schedules,
            sensors=[
                *automation(self),
                *build_sensors(self, jobs),
                *change_sensors(self, resource_prefix, values, resources, jobs[0]),
                *alerting(self.name, resources["alerts"]),
            ],
            resources={resource_prefix + key: value for key, value in resources.items()},
            loggers={"console": dg.colored_console_logger, "brief": brief_logger},
            executor=executor(),
        )

    def _about(self, resources: Mapping[str, Any]) -> About:
        shown = {key: named(settings) for key, settings in resources.items()}
        return About(
            Settings(
                self.name,
                shown["source"],
                shown["mongodb"],
                shown["vector_store"],
                shown["search_index"],
                shown["batch_store"],
            ),
            dependencies(self.deps),
            self.owners,
            self.tags,
            shown["embedder"].queue,
            self.shards,
        )


def _checked(resources: dict[str, ConfigurableResource]) -> dict[str, ConfigurableResource]:
    """Resources that do not contradict one another, as far as that shows without a model."""
    store, index = resources["vector_store"], resources["search_index"]
    assert isinstance(store, VectorStoreResource)
    assert isinstance(index, SearchIndexResource)
    index.check_declared(None if store.dtype == "auto" else store.dtype, store.path)
    source = resources["source"]
    assert isinstance(source, SourceResource)
    store.check_source(source)
    return resources


_KINDS = {
    "collection": "mongodb",
    "jsonl": "json",
    "csv": "csv",
    "parquet": "parquet",
    "sentence_transformers": "huggingface",
}
