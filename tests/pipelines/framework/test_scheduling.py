"""When a pipeline runs by itself: fragments of its schedule, conditions, and its vectors' age."""

import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from assets.about import ASSETS, CANDIDATE
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import ConfigurationError
from resources.freshness.resource import FreshnessResource

NAME = "clock"
RESOURCES: dict[str, Any] = {
    "source": {"origin": {"texts": {"documents": [{"id": "a", "text": "A text."}]}}},
    "embedder": {"provider": {"voyage": {"model": "voyage-4"}}},
    "vector_store": {"database": NAME, "collection": "vectors"},
}

Declare = Callable[..., EmbeddingPipeline]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(name: str, **resources: Any) -> str:
        file = tmp_path / f"{name}.yaml"
        content = {"resources": {key: {"config": value} for key, value in resources.items()}}
        file.write_text(yaml.safe_dump(content), "utf-8")
        return str(file)

    return write


@pytest.fixture
def declare(write: Callable[..., str]) -> Declare:
    def declare(resources: dict[str, Any] | None = None, **fields: Any) -> EmbeddingPipeline:
        return EmbeddingPipeline(
            name=NAME, configs=[write("own", **RESOURCES, **(resources or {}))], **fields
        )

    return declare


def scheduled(defs: dg.Definitions) -> dg.RunRequest:
    """The run that the schedule asks for."""
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 11, 27, 3))
    schedule = defs.resolve_schedule_def(f"{NAME}_schedule")
    (request,) = schedule.evaluate_tick(context).run_requests or []
    return request


@pytest.mark.parametrize("prefix", ["", "clock__"])
def test_a_schedules_runs_have_its_fragments_on_top(
    prefix: str, declare: Declare, write: Callable[..., str]
):
    fragments = [
        write("night", embedder={"max_cost_usd": 5.0}, mongodb={"lease_wait_seconds": 0}),
        write("other", embedder={"provider": {"openai": {"model": "text-embedding-3-small"}}}),
    ]
    defs = declare(schedule="0 3 * * *", schedule_configs=fragments).definitions(prefix)
    dg.Definitions.validate_loadable(defs)
    request = scheduled(defs)
    assert request.tags["embeddings/reason"] == "schedule"
    assert request.run_config == {
        "resources": {
            f"{prefix}embedder": {
                "config": {
                    "max_cost_usd": 5.0,
                    "provider": {"openai": {"model": "text-embedding-3-small"}},
                }
            },
            f"{prefix}mongodb": {"config": {"lease_wait_seconds": 0}},
        }
    }
    # What the run gets of it: the other choice, and all that the fragments do not say.
    got = dg.validate_run_config(defs.resolve_job_def(NAME), dict(request.run_config))
    embedder = got["resources"][f"{prefix}embedder"]["config"]
    assert list(embedder["provider"]) == ["openai"]
    assert got["resources"][f"{prefix}vector_store"]["config"]["database"] == NAME


def test_without_fragments_a_schedule_asks_for_the_pipeline_as_it_is(declare: Declare):
    assert scheduled(declare(schedule="0 3 * * *").definitions()).run_config == {}


def test_fragments_that_cannot_be_used_are_refused_as_the_definitions_load(
    declare: Declare, write: Callable[..., str]
):
    def refused(**fields: Any) -> str:
        with pytest.raises(ConfigurationError) as error:
            declare(**fields).definitions()
        return str(error.value)

    at = {"schedule": "0 3 * * *"}
    night = write("night", embedder={"max_cost": 5})
    assert f"{night}, line 4: resources.embedder.config: unknown key 'max_cost'" in refused(
        **at, schedule_configs=[night]
    )
    assert "there is no run config nights.yaml" in refused(**at, schedule_configs=["nights.yaml"])
    fresh = write("fresh", freshness={"fail": "1h"})
    assert "set `freshness`, which is read as the definitions load" in refused(
        **at, schedule_configs=[fresh]
    )
    # By itself it is sound; with the pipeline's own files it is not.
    bits = write("bits", vector_store={"dtype": "int1"}, search_index={"similarity": "cosine"})
    assert "int1" in refused(**at, schedule_configs=[bits])
    assert "has schedule_configs and no schedule" in refused(schedule_configs=[fresh])


def test_the_vectors_age_is_promised_where_they_are(declare: Declare):
    defs = declare({"freshness": {"warn": "6h", "fail": "1d"}}).definitions()
    policies = {key.path[-1]: spec.freshness_policy for key, spec in specs(defs).items()}
    wanted = dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=1), warn_window=timedelta(hours=6)
    )
    assert {name: policy for name, policy in policies.items() if policy} == {
        "stored_vectors": wanted,
        "search_index": wanted,
    }
    # Of shards the one that was stored last would speak for all.
    defs = declare({"freshness": {"fail": "1d"}}, shards=2).definitions()
    assert [key.path[-1] for key, spec in specs(defs).items() if spec.freshness_policy] == [
        "search_index"
    ]
    plain = specs(declare().definitions()).values()
    assert not any(spec.freshness_policy or spec.automation_condition for spec in plain)


def specs(defs: dg.Definitions) -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in defs.resolve_all_asset_specs()}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"warn": "6h"}, "`warn: 6h` and no `fail`"),
        ({"warn": "1d", "fail": "24h"}, "the warning has to come first"),
        ({"fail": "59s"}, "'59s' is under a minute, the least that Dagster watches"),
        ({"fail": "a day"}, "'a day' is no length of time such as 26h"),
        ({"fail": 24}, "24"),
    ],
)
def test_a_promise_that_means_nothing_is_refused(said: dict[str, Any], why: str, declare: Declare):
    with pytest.raises(ConfigurationError, match=why):
        declare({"freshness": said}).definitions()


def test_a_resource_at_the_top_of_a_file_is_told_where_it_belongs(tmp_path: Path):
    file = tmp_path / "flat.yaml"
    file.write_text("freshness: {warn: 6h, fail: 24h}\n", "utf-8")
    with pytest.raises(ConfigurationError, match="line 1: `freshness` belongs under `resources:`"):
        EmbeddingPipeline(name=NAME, configs=[file]).values()


def test_what_is_promised():
    assert FreshnessResource().promised is None
    promised = FreshnessResource(warn="90m", fail="1d12h").promised
    assert promised == (timedelta(minutes=90), timedelta(hours=36))
    assert FreshnessResource(fail="1h").promised == (None, timedelta(hours=1))


def ticks(defs: dg.Definitions, instance: dg.DagsterInstance, hours: range) -> dict[int, set[str]]:
    """What an hourly look at the conditions asks for, by the hour."""
    cursor, found = None, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        for hour in hours:
            at = datetime(2026, 11, 27, hour, 30, tzinfo=UTC)
            result = dg.evaluate_automation_conditions(
                defs, instance, cursor=cursor, evaluation_time=at
            )
            cursor = result.cursor
            keys = [dg.AssetKey([NAME, asset]) for asset in (*ASSETS, CANDIDATE)]
            found[hour] = {key.path[-1] for key in keys if result.get_num_requested(key)}
    return found


def test_a_condition_starts_all_of_a_pipeline_in_one_tick(declare: Declare):
    condition = dg.AutomationCondition.cron_tick_passed("0 3 * * *")
    pipeline = declare(
        automation_condition=condition, schedule_status=dg.DefaultScheduleStatus.RUNNING
    )
    defs = pipeline.definitions()
    dg.Definitions.validate_loadable(defs)
    (sensor,) = defs.sensors or []
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert sensor.name == f"{NAME}_automation"
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
    assert sensor.run_tags == {"embeddings/pipeline": NAME, "embeddings/reason": "automation"}
    with dg.DagsterInstance.ephemeral() as instance:
        found = ticks(defs, instance, range(1, 5))
    # Also on a fresh deployment, whose assets are all missing.
    assert found == {1: set(), 2: set(), 3: {*ASSETS, CANDIDATE}, 4: set()}


def test_of_a_pipeline_in_shards_a_condition_starts_the_plan(declare: Declare):
    condition = dg.AutomationCondition.cron_tick_passed("0 3 * * *")
    defs = declare(automation_condition=condition, shards=2).definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        found = ticks(defs, instance, range(1, 5))
    assert found == {1: set(), 2: set(), 3: {"source_documents"}, 4: set()}


def test_eager_waits_for_the_first_fill(declare: Declare):
    """Said in the documentation: a fresh deployment is filled by its job."""
    pipeline = declare(automation_condition=dg.AutomationCondition.eager(), deps=["raw/texts"])
    with dg.DagsterInstance.ephemeral() as instance:
        assert set().union(*ticks(pipeline.definitions(), instance, range(1, 4)).values()) == set()
