"""Runs of some records alone, of a pipeline in shards: each shard carries out its own."""

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assets.work.comparing import plan_work
from assets.work.embedding import embed
from assets.work.proving import index
from assets.work.spaces import complete
from assets.work.storing import store
from assets.work.whole import refuse_a_part
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.execution import RunFailed, run
from pipelines.operations.plan import dry_run
from pipelines.operations.status import Seen, Spending
from resources.core.errors import SearchIndexError
from resources.core.shards import shard_of
from tests.assets.test_changed import config
from tests.failing_shards import failing
from tests.workshop import Workshop

SHARDS = 3
FILMS = 12


@pytest.fixture
def shop(
    tmp_path: Path, mongod_uri: str, static_model: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    name = f"pieces_{secrets.token_hex(4)}"
    shop = Workshop(tmp_path, mongod_uri, name, static_model, name=name, shards=SHARDS)
    origin = {"database": name, "collection": "films"}
    shop.configure(
        {"source": {"origin": {"collection": origin}}, "vector_store": {"max_delete_fraction": 0.9}}
    )
    films(shop).insert_many([{"_id": n, "text": f"film {n}"} for n in range(FILMS)])
    yield shop
    shop.client.drop_database(shop.database)
    shop.client.close()


def films(shop: Workshop) -> pymongo.collection.Collection:
    return shop.client[shop.database]["films"]


def change(shop: Workshop, *ids: Any) -> None:
    for each in ids:
        text = f"another film {secrets.token_hex(3)}"
        films(shop).update_one({"_id": each}, {"$set": {"text": text}}, upsert=True)


def only(shop: Workshop, *ids: Any) -> list[Path]:
    file = shop.folder / "run.yaml"
    file.write_text(yaml.safe_dump(config(*ids)), "utf-8")
    return [file]


def begun(shop: Workshop, after: int = 0) -> set[int]:
    """Shards of which there were runs, after so many runs of the pipeline."""
    with dg.DagsterInstance.get() as instance:
        found = list(reversed(instance.get_runs()))[after:]
    names = [each.tags["dagster/partition"] for each in found if "dagster/partition" in each.tags]
    return {int(name.split("-")[0]) for name in names}


def count(shop: Workshop) -> int:
    with dg.DagsterInstance.get() as instance:
        return instance.get_runs_count()


def texts(shop: Workshop) -> dict[Any, str]:
    return {row["_id"]: row["text"] for row in films(shop).find()}


def stored(shop: Workshop) -> dict[Any, str]:
    return {name: row["text"] for name, row in shop.stored().items()}


def versions(shop: Workshop) -> Mapping[str, Any]:
    with dg.DagsterInstance.get() as instance:
        return {
            f"{asset} {shard}": instance.get_latest_data_version_record(
                dg.AssetKey([shop.name, asset]), partition_key=shard
            ).event_log_entry.tags["dagster/data_version"]  # pyright: ignore
            for asset in ("embedding_batches", "stored_vectors")
            for shard in instance.get_materialized_partitions(dg.AssetKey([shop.name, asset]))
        }


@pytest.mark.proof
def test_shards_of_other_documents_are_left_alone(shop: Workshop):
    assert run(shop.pipeline).planned.found.counts.new == FILMS
    before, runs = versions(shop), count(shop)
    touched = {shard_of(each, SHARDS) for each in (1, 2)}
    assert len(touched) < SHARDS
    new = next(name for name in map(str, range(99)) if shard_of(name, SHARDS) in touched)
    change(shop, 1, new)
    films(shop).delete_one({"_id": 2})
    change(shop, 9)  # named by nobody
    outcome = run(shop.pipeline, only(shop, 1, 2, new))
    counts = outcome.planned.found.counts
    assert (counts.new, counts.changed, counts.deleted, counts.unchanged) == (1, 1, 1, 0)
    assert begun(shop, runs) == touched
    found, wanted = stored(shop), texts(shop)
    assert found.pop(9) == "film 9"
    wanted.pop(9)
    assert found == wanted
    after = versions(shop)
    assert {name for name in after if after[name] != before[name]} == {
        f"{asset} {shard}-of-{SHARDS}"
        for asset in ("embedding_batches", "stored_vectors")
        for shard in touched
    }
    # Shards without anything to do keep no plan from being carried out.
    with open_pipeline(shop.pipeline) as o:
        assert not o.registry.plans.unfinished(o.main.lane, SHARDS)
    change(shop, 1)
    again = run(shop.pipeline, only(shop, 1))
    assert again.planned.plan.ids == [1]
    after = versions(shop)
    # Who carries such a plan out again knows nothing new either.
    idle = run(shop.pipeline, only(shop, 1, 2, new))
    assert not any(idle.planned.work.values())
    assert versions(shop) == after
    assert run(shop.pipeline).planned.found.counts.changed == 1
    assert stored(shop) == texts(shop)


@pytest.mark.proof
def test_what_a_shard_has_failed_at_is_in_the_next_plan_whatever_that_is_of(
    shop: Workshop,
):
    run(shop.pipeline)
    change(shop, *range(FILMS))

    with failing(1), pytest.raises(RunFailed, match="no primary answers"):
        run(shop.pipeline, only(shop, *range(6)))
    with open_pipeline(shop.pipeline) as o:
        undone = Seen(Spending()).look(o).undone
    assert "the newest plan of its 3 shards is not carried out" in undone
    outcome = run(shop.pipeline, only(shop, 7))
    with open_pipeline(shop.pipeline) as o:
        assert Seen(Spending()).look(o).undone == ""
    assert set(outcome.planned.plan.ids or []) == {*range(6), 7}
    after = stored(shop)
    assert {n for n in range(FILMS) if after[n] == texts(shop)[n]} == {*range(6), 7}


@pytest.mark.proof
def test_an_index_that_did_not_wait_for_the_shards_does_not_make_a_plan_carried_out(
    shop: Workshop,
):
    run(shop.pipeline)
    change(shop, 1, 2, 3)
    with open_pipeline(shop.pipeline, only(shop, 1, 2, 3), run="one") as opened:
        o = opened.main
        with o.work():
            plan_work(o)
            complete(o, index(o).report.indexed)
    outcome = run(shop.pipeline, only(shop, 1))
    assert set(outcome.planned.plan.ids or []) == {1, 2, 3}
    assert stored(shop) == texts(shop)


def test_a_plan_that_was_written_and_not_noted_is_to_be_made_again(shop: Workshop):
    with open_pipeline(shop.pipeline, run="one") as opened:
        o = opened.main
        with o.work():
            plan_work(o)
            plans = shop.client[shop.database]["embedding_plans"]
            plans.update_one({"_id": o.lane.name}, {"$set": {"plan": "20200101T000000-abcdef"}})
            with pytest.raises(SearchIndexError, match=f"materialize {o.name}/source_documents"):
                refuse_a_part(o)
    run(shop.pipeline)
    assert stored(shop) == texts(shop)


def test_with_other_shards_the_whole_source_is_compared(shop: Workshop):
    run(shop.pipeline)
    change(shop, 1, 9)
    shop.shards = 2
    outcome = run(shop.pipeline, only(shop, 1))
    assert outcome.planned.plan.ids is None
    assert stored(shop) == texts(shop)
    assert outcome.embedded.embedded == 2


def steps(shop: Workshop, ids: list[Any], stop: int) -> None:
    """A run of these documents, which dies after so many of its steps."""
    overrides = only(shop, *ids) if ids else []
    for step in range(SHARDS + 2):
        if step == stop:
            return
        with open_pipeline(shop.pipeline, overrides, run=secrets.token_hex(4)) as opened:
            opened.shards = SHARDS
            opened.shard = step - 1 if 0 < step <= SHARDS else None
            o = opened.main
            with o.work():
                if step == 0:
                    plan_work(o)
                elif step <= SHARDS:
                    embed(o)
                    store(o)
                else:
                    complete(o, index(o).report.indexed)


CHANGES = st.tuples(
    st.lists(st.integers(0, FILMS + 2), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(0, FILMS + 2), max_size=2, unique=True),
    st.integers(1, SHARDS + 2),
)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_whatever_dies_all_that_was_named_is_stored_in_the_end(shop: Workshop, histories: Any):
    films(shop).delete_many({})
    films(shop).insert_many([{"_id": n, "text": f"film {n}"} for n in range(FILMS)])
    steps(shop, [], SHARDS + 2)
    assert stored(shop) == texts(shop)
    for changed, deleted, stop in histories:
        change(shop, *changed)
        films(shop).delete_many({"_id": {"$in": deleted}})
        steps(shop, [*changed, *deleted], stop)
    steps(shop, [0], SHARDS + 2)
    assert stored(shop) == texts(shop)
    assert not any(dry_run(shop.pipeline).parts)
