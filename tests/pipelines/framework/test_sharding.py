"""What follows a new plan of a pipeline in shards: told by Dagster's records, whoever made them."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from assets.sharding import PLAN, WORK
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.framework.sensing.shards import INDEX_TRIES, sensor_name
from pipelines.framework.sharding import to_carry_out
from resources.core.errors import ConfigurationError
from resources.core.shards import shard_names

NAMES = shard_names(2)
FILMS = "films"


@pytest.fixture
def films() -> EmbeddingPipeline:
    return EmbeddingPipeline(FILMS, ["quickstart.yaml"], shards=2)


class Records:
    """A Dagster instance in which runs are noted that somebody has launched."""

    def __init__(self, pipeline: EmbeddingPipeline) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self.definitions = pipeline.definitions()
        self.sensor = self.definitions.resolve_sensor_def(sensor_name(FILMS))
        self.cursor: str | None = None

    def ran(
        self,
        asset: str,
        metadata: dict[str, Any],
        shard: str | None = None,
        *,
        ended: bool = True,
    ) -> str:
        """A run that made an asset, and may have failed after that."""
        key = dg.AssetKey([FILMS, asset])
        made = dg.AssetMaterialization(key, partition=shard, metadata=metadata)

        @dg.op
        def make(context):
            context.log_event(made)
            if not ended:
                raise RuntimeError("a check failed")

        @dg.job
        def job():
            make()

        found = job.execute_in_process(instance=self.instance, raise_on_error=False)
        return found.run_id

    def planned(self, plan: str, work: dict[str, int]) -> str:
        return self.ran("source_documents", {PLAN: plan, WORK: work})

    def stored(self, plan: str, shard: str, *, ended: bool = True) -> str:
        return self.ran("stored_vectors", {PLAN: plan}, shard, ended=ended)

    def launched(self, status: dg.DagsterRunStatus, root: str | None = None) -> dg.DagsterRun:
        """A run of the latest request that has ended so; or one that went on with another."""
        job = self.definitions.resolve_job_def(INDEX)
        if root is not None:
            tags = {"dagster/root_run_id": root, "dagster/parent_run_id": root}
            return self.instance.create_run_for_job(
                job, tags=tags, status=status, root_run_id=root, parent_run_id=root
            )
        tags = {"dagster/run_key": self.requests[0].run_key or ""}
        return self.instance.create_run_for_job(job, tags=tags, status=status)

    def look(self) -> tuple[list[str], str]:
        """What the sensor launches, and what it says where that is nothing."""
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, definitions=self.definitions
        ) as context:
            found = self.sensor(context)
        assert isinstance(found, dg.SensorResult)
        self.cursor = found.cursor or self.cursor
        self.requests = list(found.run_requests or [])
        why = found.skip_reason.skip_message if found.skip_reason else ""
        return [request.partition_key or request.job_name or "" for request in self.requests], why


@pytest.fixture
def records(films: EmbeddingPipeline) -> Iterator[Records]:
    made = Records(films)
    yield made
    made.instance.dispose()


INDEX = "films_index"
DONE = "the newest plan is carried out"


def test_shards_follow_a_plan_and_the_index_the_last_of_them_once(records: Records):
    assert records.look() == ([], "nothing is planned yet: run the job films")
    run = records.planned("plan-1", {NAMES[0]: 3, NAMES[1]: 0})
    assert records.look() == (NAMES, ""), "one has nothing to do, but was never stored"
    assert {request.job_name for request in records.requests} == {"films_shards"}
    assert [request.run_key for request in records.requests] == [f"{run}/{name}" for name in NAMES]
    assert records.look() == ([], "waits for 0-of-2, 1-of-2")
    records.stored("plan-1", NAMES[1])
    records.stored("plan-1", NAMES[0], ended=False)
    assert records.look() == ([], "waits for 0-of-2"), "a run that failed has not stored it"
    records.stored("plan-1", NAMES[0])
    assert records.look() == ([INDEX], "")
    assert records.look() == ([], "waits for the index")
    records.ran("search_index", {PLAN: "plan-1"})
    assert records.look() == ([], DONE)

    # A shard without anything to do is left alone from then on, an index is not.
    records.planned("plan-2", {NAMES[0]: 0, NAMES[1]: 0})
    assert records.look() == ([INDEX], "")
    records.planned("plan-3", {NAMES[0]: 0, NAMES[1]: 1})
    assert records.look() == ([NAMES[1]], "")
    # A newer plan is carried out instead of it.
    records.planned("plan-4", {NAMES[0]: 1, NAMES[1]: 1})
    assert records.look() == (NAMES, "")
    records.stored("plan-3", NAMES[1])
    records.stored("plan-4", NAMES[0])
    assert records.look() == ([], "waits for 1-of-2")


def test_what_others_have_done_is_not_done_again(records: Records):
    records.planned("plan-1", {name: 1 for name in NAMES})
    records.stored("plan-1", NAMES[0])
    assert records.look() == ([NAMES[1]], "")
    records.stored("plan-1", NAMES[1])
    records.ran("search_index", {PLAN: "plan-1"})
    assert records.look() == ([], DONE)


def test_a_backfill_is_let_do_its_work(records: Records):
    records.planned("plan-1", {name: 1 for name in NAMES})
    backfill = PartitionBackfill(
        backfill_id="by-hand",
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=0.0,
        asset_selection=[dg.AssetKey([FILMS, "stored_vectors"])],
    )
    records.instance.add_backfill(backfill)
    assert records.look() == ([], "the backfill by-hand is at work on it")
    records.stored("plan-1", NAMES[0])
    records.stored("plan-1", NAMES[1])
    records.instance.update_backfill(backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS))
    assert records.look() == ([INDEX], "")


def test_a_plan_for_another_number_of_shards_is_left(records: Records):
    records.planned("plan-1", {name: 1 for name in shard_names(3)})
    assert records.look() == ([], "the plan is of 3 shards: run the job films")


def test_where_what_serves_is_left_alone_the_candidate_is_built(records: Records):
    records.ran("source_documents", {"left as it is": "`keep_serving: false`"})
    assert records.look() == ([INDEX], "")
    records.launched(dg.DagsterRunStatus.SUCCESS)
    assert records.look() == ([], DONE)


def test_an_index_that_fails_is_asked_for_again_and_then_said(records: Records):
    records.planned("plan-1", {name: 0 for name in NAMES})
    for name in NAMES:
        records.stored("plan-1", name)
    for _ in range(INDEX_TRIES):
        assert records.look() == ([INDEX], "")
        run = records.launched(dg.DagsterRunStatus.FAILURE)
    launched, why = records.look()
    assert launched == []
    assert why.endswith(f"in the run {run.run_id} last: run the job {INDEX}")
    # Somebody does, or has it go on where it had failed.
    records.launched(dg.DagsterRunStatus.SUCCESS, root=run.run_id)
    assert records.look() == ([], DONE)


def test_an_index_that_somebody_has_canceled_is_not_asked_for_again(records: Records):
    records.planned("plan-1", {name: 0 for name in NAMES})
    for name in NAMES:
        records.stored("plan-1", name)
    assert records.look() == ([INDEX], "")
    records.launched(dg.DagsterRunStatus.CANCELED)
    assert records.look() == ([], f"the index was canceled: run the job {INDEX} for it")


def test_an_index_that_nobody_has_made_is_asked_for_again(records: Records):
    records.planned("plan-1", {name: 0 for name in NAMES})
    for name in NAMES:
        records.stored("plan-1", name)
    assert records.look() == ([INDEX], "")
    assert records.look() == ([], "waits for the index")
    assert records.look() == ([INDEX], "")


def test_a_shard_that_went_on_where_it_had_failed_has_stored(records: Records):
    records.planned("plan-1", {name: 1 for name in NAMES})
    assert records.look() == (NAMES, "")
    records.stored("plan-1", NAMES[0])
    run = records.stored("plan-1", NAMES[1], ended=False)
    assert records.look() == ([], "waits for 1-of-2")
    records.launched(dg.DagsterRunStatus.SUCCESS, root=run)  # of what is left: a check
    assert records.look() == ([INDEX], "")


def test_a_shard_is_carried_out_where_it_has_work_or_was_never_stored():
    assert to_carry_out({"a": 1, "b": 0, "c": 0}, ["a", "b"]) == ["a", "c"]


@pytest.mark.parametrize("status", ["RUNNING", "STOPPED"])
def test_the_jobs_and_the_sensor_of_shards(films: EmbeddingPipeline, status: str):
    given = {"schedule": "0 3 * * *", "schedule_status": dg.DefaultScheduleStatus[status]}
    made = EmbeddingPipeline(FILMS, films.configs, shards=2, **given)  # type: ignore[arg-type]
    defs = made.definitions()
    dg.Definitions.validate_loadable(defs)
    assert defs.resolve_sensor_def(sensor_name(FILMS)).default_status.name == status
    jobs = {name: defs.resolve_job_def(name) for name in (FILMS, "films_shards", INDEX)}
    assert {
        name: sorted(key.path[-1] for key in job.asset_layer.executable_asset_keys)
        for name, job in jobs.items()
    } == {
        FILMS: ["source_documents"],
        "films_shards": ["embedding_batches", "stored_vectors"],
        INDEX: ["candidate_space", "search_index", "search_quality"],
    }
    (schedule, *_) = [s for s in defs.schedules or [] if s.name == "films_schedule"]
    assert schedule.job_name == FILMS  # type: ignore[union-attr]
    graph = defs.resolve_asset_graph()
    parts = {key.path[-1]: graph.get(key).partitions_def for key in graph.materializable_asset_keys}
    assert {name for name, each in parts.items() if each} == {"embedding_batches", "stored_vectors"}
    checks = {
        key.name: graph.get_check_spec(key).partitions_def is not None
        for key in graph.asset_check_keys
    }
    assert checks["all_stored"]
    assert checks["batches_are_sound"]
    assert not checks["few_in_quarantine"]
    assert not checks["index_is_complete"]


def test_one_shard_is_a_pipeline_without_partitions(films: EmbeddingPipeline):
    one = EmbeddingPipeline(FILMS, films.configs).definitions()
    assert not one.sensors
    assert not {"films_shards", "films_index"} & {job.name for job in one.jobs or []}
    graph = one.resolve_asset_graph()
    assert not any(graph.get(key).partitions_def for key in graph.materializable_asset_keys)
    with pytest.raises(ConfigurationError, match="has shards=0: 1 is a pipeline that is not"):
        EmbeddingPipeline(FILMS, films.configs, shards=0)
