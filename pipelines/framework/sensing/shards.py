"""The sensor that lets the shards follow a new plan, and the index the last of them.

What has been done is told by Dagster's own records: each materialization names the plan that it is
of. So it is all one whether the sensor launched a run, or a person did, or a backfill.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.tags import ROOT_RUN_ID_TAG, WILL_RETRY_TAG

from assets import run_tags
from assets.sharding import PLAN, WORK
from pipelines.framework.sensing.runs import of_key, unfinished_backfill
from pipelines.framework.sharding import INDEX, SOURCE, STORED, index_job, shards_job, to_carry_out
from resources.core.shards import shard_names

if TYPE_CHECKING:
    from pipelines.framework.pipeline import EmbeddingPipeline

SECONDS = 30
"""Between two looks."""
REASON = "new plan"
INDEX_TRIES = 3
DONE = "the newest plan is carried out"


def sensor_name(pipeline: str) -> str:
    return f"{pipeline}_shards_sensor"


@dataclass(frozen=True)
class Planned:
    """The newest materialization of `source_documents`.

    Attributes:
        run: That made it.
        plan: Its plan; empty where it has none, since what serves is left as it is.
        work: How many parts each shard has to carry out.
    """

    run: str
    plan: str
    work: Mapping[str, int]


@dataclass(frozen=True)
class Following:
    """What the sensor has launched for a plan.

    Attributes:
        run: That made the plan.
        shards: That it waits for.
        index: How often the index was asked for.
        lost: Looks, one after the other, at which there was no run of that.
    """

    run: str = ""
    shards: Sequence[str] = ()
    index: int = 0
    lost: int = 0

    @classmethod
    def read(cls, cursor: str | None) -> "Following":
        """From the sensor's cursor."""
        return cls(**json.loads(cursor)) if cursor else cls()

    def written(self) -> str:
        return json.dumps(vars(self))


def build_sensors(pipeline: "EmbeddingPipeline", jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """What lets one job follow the other, where the pipeline is in shards.

    Args:
        pipeline: Itself.
        jobs: All of its own.
    """
    name = pipeline.name
    if pipeline.shards == 1:
        return []
    following = [job for job in jobs if job.name in (shards_job(name), index_job(name))]
    status = dg.DefaultSensorStatus[pipeline.schedule_status.name]
    return [build_sensor(name, pipeline.shards, following, status)]


def build_sensor(
    pipeline: str, shards: int, jobs: Sequence[Any], status: dg.DefaultSensorStatus
) -> dg.SensorDefinition:
    """The sensor.

    Args:
        pipeline: Its name.
        shards: How many there are.
        jobs: As `build_jobs` makes them.
        status: Whether it looks as soon as the code location is loaded.
    """

    @dg.sensor(
        name=sensor_name(pipeline),
        jobs=list(jobs),
        minimum_interval_seconds=SECONDS,
        default_status=status,
        description=f"Launches the shards of a new plan of {pipeline} that have something to do, "
        "and the index once, when the last of them is stored.",
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen = _Seen(context.instance, pipeline)
        planned = seen.planned()
        if planned is None:
            return _skip(f"nothing is planned yet: run the job {pipeline}")
        if planned.work and list(planned.work) != shard_names(shards):
            return _skip(f"the plan is of {len(planned.work)} shards: run the job {pipeline}")
        if busy := unfinished_backfill(context.instance, pipeline):
            return _skip(f"the backfill {busy} is at work on it")
        before = Following.read(context.cursor)
        new = before.run != planned.run
        wanted = to_carry_out(planned.work, seen.stored()) if new else before.shards
        left = [name for name in wanted if not seen.carried_out(planned.plan, name)]
        config = seen.settings(planned.run)
        runs = []
        if new:
            runs = [_shard_run(pipeline, planned.run, name, config) for name in left]
        asked, lost, why = 0 if new else before.index, 0, f"waits for {', '.join(left)}"
        if not left:
            run = seen.index_run(planned.run, asked)
            lost = before.lost + 1 if asked and run is None else 0
            wanting, why = seen.index_after(planned, asked, run, lost)
            if wanting:
                asked, lost = asked + 1, 0
                runs.append(_index_run(pipeline, planned.run, asked, config))
        cursor = Following(planned.run, wanted, asked, lost).written()
        return dg.SensorResult(
            run_requests=runs, skip_reason=None if runs else dg.SkipReason(why), cursor=cursor
        )

    return follow


def _skip(why: str) -> dg.SensorResult:
    return dg.SensorResult(skip_reason=dg.SkipReason(why))


def _shard_run(pipeline: str, plan_run: str, name: str, config: dict[str, Any]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=f"{plan_run}/{name}",
        job_name=shards_job(pipeline),
        partition_key=name,
        run_config=config,
        tags={run_tags.REASON: REASON},
    )


def _index_key(plan_run: str, asked: int) -> str:
    return f"{plan_run}/index/{asked}"


def _index_run(pipeline: str, plan_run: str, asked: int, config: dict[str, Any]) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=_index_key(plan_run, asked),
        job_name=index_job(pipeline),
        run_config=config,
        tags={run_tags.REASON: REASON},
    )


class _Seen:
    """What Dagster's records say of a pipeline."""

    def __init__(self, instance: dg.DagsterInstance, pipeline: str) -> None:
        self._instance, self._index_job = instance, index_job(pipeline)
        keys = (dg.AssetKey([pipeline, asset]) for asset in (SOURCE, STORED, INDEX))
        self._source, self._stored, self._index = keys

    def planned(self) -> Planned | None:
        event = self._instance.get_latest_materialization_event(self._source)
        if event is None:
            return None
        said = _metadata(event)
        return Planned(event.run_id, said.get(PLAN, ""), said.get(WORK, {}))

    def stored(self) -> list[str]:
        """Shards that were ever stored."""
        return list(self._instance.get_materialized_partitions(self._stored))

    def carried_out(self, plan: str, shard: str) -> bool:
        """Whether a run has stored a shard of a plan, and has ended well."""
        which = dg.AssetRecordsFilter(self._stored, asset_partitions=[shard])
        for record in self._instance.fetch_materializations(which, limit=1).records:
            entry = record.event_log_entry
            run = self._instance.get_run_by_id(entry.run_id)
            return _metadata(entry).get(PLAN) == plan and (run is None or self._ended_well(run))
        return False

    def _ended_well(self, run: dg.DagsterRun) -> bool:
        """Whether it has, or one that went on where it had failed."""
        if run.is_success:
            return True
        return bool(self._instance.get_runs(_went_on(run, dg.DagsterRunStatus.SUCCESS), limit=1))

    def indexed(self) -> str:
        """The plan that the index was built after."""
        event = self._instance.get_latest_materialization_event(self._index)
        return _metadata(event).get(PLAN, "") if event else ""

    def index_run(self, plan_run: str, asked: int) -> dg.DagsterRun | None:
        """The run that was asked for, or the latest that went on where it had failed."""
        run = of_key(self._instance, _index_key(plan_run, asked))
        if run is None:
            return None
        return next(iter(self._instance.get_runs(_went_on(run), limit=1)), run)

    def index_after(
        self, planned: Planned, asked: int, run: dg.DagsterRun | None, lost: int
    ) -> tuple[bool, str]:
        """Whether to ask for the index of a plan, and what there is to say else.

        Args:
            planned: The plan, which all shards have carried out.
            asked: How often it was asked for.
            run: That came of it.
            lost: Looks at which none was there.
        """
        if planned.plan and self.indexed() == planned.plan:
            return False, DONE
        if not asked:
            return True, ""
        if run is None and lost < 2:
            return False, "waits for the index"  # its run may be about to be made
        if run is not None:
            retried = run.tags.get(WILL_RETRY_TAG) == "true"
            if not run.is_finished or (retried and not run.is_success):
                return False, "waits for the index"
            if run.is_success:
                return False, DONE
            if run.status is dg.DagsterRunStatus.CANCELED:
                return False, f"the index was canceled: run the job {run.job_name} for it"
        if asked < INDEX_TRIES:
            return True, ""
        last = f", in the run {run.run_id} last" if run else ""
        return False, f"the index has failed {asked} times{last}: run the job {self._index_job}"

    def settings(self, run: str) -> dict[str, Any]:
        """What the run that planned was launched with: a plan is carried out by the same."""
        found = self._instance.get_run_by_id(run)
        given = found.run_config.get("resources") if found else None
        return {"resources": given} if given else {}


def _went_on(run: dg.DagsterRun, *statuses: dg.DagsterRunStatus) -> dg.RunsFilter:
    """Finds runs that went on where a run, or one before it, had failed."""
    root = run.root_run_id or run.run_id
    return dg.RunsFilter(tags={ROOT_RUN_ID_TAG: root}, statuses=list(statuses))


def _metadata(event: dg.EventLogEntry) -> dict[str, Any]:
    made = event.asset_materialization
    return {name: value.value for name, value in made.metadata.items()} if made else {}
