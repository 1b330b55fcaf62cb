"""The sensor of changes, tick by tick, on a genuine replica set; its runs are real ones."""

import dataclasses
import json
import os
import secrets
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pymongo
import pytest
from bson import json_util
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.storage.tags import RUN_KEY_TAG

from assets import run_tags
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import RESOURCES
from pipelines.framework.sensing import runs
from pipelines.framework.sensing import tick as sensing
from pipelines.framework.sensing.state import State, Wanted
from pipelines.operations import spaces
from resources.core.chunks import hash_text
from resources.core.errors import ConfigurationError
from resources.core.moment import now
from resources.core.shards import shard_names
from resources.registry.stores import Stores
from resources.sources import change_stream, changes
from tests.models import build_static_model
from tests.workshop import Workshop

TEXTS = ("a ship", "an iceberg", "a captain", "a harbour", "a storm", "a whale")


class Ticking:
    """A pipeline's sensor, whose cursor goes from tick to tick; no daemon around."""

    def __init__(self, shop: Workshop, instance: dg.DagsterInstance) -> None:
        self.shop, self.instance = shop, instance
        self.cursor: str | None = None
        self._built: dict[str, dg.Definitions] = {}

    def definitions(self) -> dg.Definitions:
        """As the settings have them; to build them takes longer than a tick."""
        settings = json.dumps(self.shop.settings)
        if settings not in self._built:
            made = self.shop.pipeline
            watched = dataclasses.replace(made, on_change=True)
            self._built[settings] = watched.definitions()
        return self._built[settings]

    def tick(self) -> SensorExecutionData:
        defs = self.definitions()
        found = defs.resolve_sensor_def(f"{self.shop.name}_changes")
        resources = {key: (defs.resources or {})[key] for key in RESOURCES}
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            definitions=defs,
            resources=resources,
            sensor_name=found.name,
        ) as context:
            seen = found.evaluate_tick(context)
        self.cursor = seen.cursor or self.cursor
        return seen

    def asked(self) -> dg.RunRequest:
        """The run that a tick asks for."""
        found = self.tick()
        assert found.run_requests, found.skip_message
        (request,) = found.run_requests
        return request

    def skipped(self) -> str:
        found = self.tick()
        assert not found.run_requests, found.run_requests
        return found.skip_message or ""

    def run(self, request: dg.RunRequest) -> bool:
        """As the daemon does, in this process."""
        result = (
            self.definitions()
            .resolve_job_def(self.shop.name)
            .execute_in_process(
                run_config=request.run_config,
                tags={**request.tags, RUN_KEY_TAG: request.run_key or ""},
                asset_selection=list(request.asset_selection or []),
                instance=self.instance,
                raise_on_error=False,
            )
        )
        return result.success

    def run_job(self, job: str, **options: Any) -> bool:
        definition = self.definitions().resolve_job_def(job)
        return definition.execute_in_process(instance=self.instance, **options).success

    def pretended(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> dg.DagsterRun:
        """A run of a request that has got so far, and does nothing but say that it has."""
        if status is dg.DagsterRunStatus.SUCCESS:
            plans = self.shop.client[self.shop.database]["embedding_plans"]
            plans.update_many({}, {"$set": {"until": handed(request)["until"]}})
        job = self.definitions().resolve_job_def(self.shop.name)
        tags = {**request.tags, RUN_KEY_TAG: request.run_key or "", run_tags.PIPELINE: job.name}
        return self.instance.create_run_for_job(job, tags=tags, status=status)

    def state(self) -> dict[str, Any]:
        return json_util.loads(self.cursor or "{}")

    def change_state(self, **values: Any) -> None:
        self.cursor = json_util.dumps({**self.state(), **values})

    def settled(self) -> None:
        """After its first run, of which the sensor only hears."""
        self.pretended(self.asked(), dg.DagsterRunStatus.SUCCESS)
        assert self.skipped() == "nothing has changed"


def handed(request: dg.RunRequest) -> dict[str, Any]:
    return request.run_config["resources"]["source"]["config"]["changes"]


def ids_of(request: dg.RunRequest) -> set[Any]:
    return {json.loads(each) for each in handed(request)["ids"]}


def reason(request: dg.RunRequest) -> str:
    return request.tags[run_tags.REASON]


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as found:
        yield found


@pytest.fixture
def ticking(
    tmp_path: Path,
    replica_set_uri: str,
    static_model: str,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Ticking]:
    monkeypatch.setattr(change_stream, "AWAIT_MS", 50)
    name = f"watched_{secrets.token_hex(4)}"
    shop = Workshop(tmp_path, replica_set_uri, name, static_model, name=name)
    origin = {"database": name, "collection": "films", "filter": {"hidden": {"$ne": True}}}
    shop.configure(
        {"source": {"origin": {"collection": origin}}, "vector_store": {"max_delete_fraction": 0.5}}
    )
    films(shop).insert_many([{"_id": n, "text": text} for n, text in enumerate(TEXTS)])
    yield Ticking(shop, instance)
    shop.client.drop_database(name)
    shop.client.close()


def films(shop: Workshop) -> pymongo.collection.Collection:
    return shop.client[shop.database]["films"]


def test_runs_follow_the_changes(ticking: Ticking):
    shop = ticking.shop
    first = ticking.asked()
    assert handed(first).keys() == {"until"}
    assert first.tags[run_tags.REASON] == f"all is compared: {sensing.FIRST}"
    assert ticking.run(first)
    assert ticking.skipped() == "nothing has changed"  # nor do its own writes count
    found = films(shop)
    found.insert_one({"_id": 10, "text": "a lighthouse"})
    for n in range(3):
        found.update_one({"_id": 0}, {"$set": {"text": f"a ship of {n} masts"}})
    found.replace_one({"_id": 1}, {"text": "an ice floe"})
    found.update_one({"_id": 2}, {"$set": {"hidden": True}})
    found.delete_one({"_id": 3})
    found.update_one({"_id": 4}, {"$set": {"views": 5, "kinds.0": 1}})  # which nobody reads
    request = ticking.asked()
    assert ids_of(request) == {0, 1, 2, 3, 10}
    assert handed(request)["after"] == handed(first)["until"] != handed(request)["until"]
    assert request.tags[run_tags.REASON] == sensing.CHANGES
    assert ticking.run(request)
    assert set(shop.stored()) == {0, 1, 4, 5, 10}
    assert shop.stored()[0]["text"] == "a ship of 2 masts"
    found.update_one({"_id": 2}, {"$unset": {"hidden": ""}})
    request = ticking.asked()
    assert ids_of(request) == {2}
    assert ticking.run(request)
    assert set(shop.stored()) == {0, 1, 2, 4, 5, 10}
    assert ticking.skipped() == "nothing has changed"
    ticking.change_state(looked=0)
    assert ticking.skipped() == "nothing has changed"  # nor is anything else due
    assert ticking.state()["looked"] > 0
    shop.client[shop.database]["search_indexes"].delete_many({})
    ticking.change_state(looked=0)
    assert "the index is not as the last run left it" in ticking.asked().tags[run_tags.REASON]


def test_what_runs_write_in_place_is_no_change(ticking: Ticking):
    store = {"in_place": True, "database": None, "collection": None, "path": "embedding"}
    del ticking.shop.settings["vector_store"]
    ticking.shop.configure({"vector_store": {k: v for k, v in store.items() if v is not None}})
    ticking.shop.configure({"search_index": {"filter_fields": []}})
    assert ticking.run(ticking.asked())
    assert films(ticking.shop).count_documents({"embedding": {"$exists": True}}) == len(TEXTS)
    assert ticking.skipped() == "nothing has changed"


def test_while_a_run_is_under_way_changes_are_collected(ticking: Ticking):
    ticking.settled()
    found = films(ticking.shop)
    found.update_one({"_id": 0}, {"$set": {"text": "one"}})
    run = ticking.pretended(ticking.asked(), dg.DagsterRunStatus.STARTED)
    found.update_one({"_id": 1}, {"$set": {"text": "two"}})
    said = f"the run {run.run_id} is under way: 1 documents that have changed wait for it"
    assert ticking.skipped() == said
    found.update_one({"_id": 2}, {"$set": {"text": "three"}})
    assert "2 documents" in ticking.skipped()
    ticking.instance.report_run_failed(run)
    assert "are tried again in" in ticking.skipped()
    ticking.change_state(after=0)
    assert ids_of(ticking.asked()) == {0, 1, 2}


def test_a_run_that_nobody_has_made_is_asked_for_again(ticking: Ticking):
    ticking.settled()
    films(ticking.shop).update_one({"_id": 0}, {"$set": {"text": "one"}})
    request = ticking.asked()
    assert "the run that was asked for is under way" in ticking.skipped()
    again = ticking.asked()
    assert ids_of(again) == {0}
    assert again.run_key != request.run_key


def test_a_tick_that_died_asks_for_the_same_run(ticking: Ticking):
    ticking.settled()
    films(ticking.shop).update_one({"_id": 0}, {"$set": {"text": "one"}})
    before = ticking.cursor
    first = ticking.asked()
    ticking.cursor = before
    assert ticking.asked().run_key == first.run_key


def test_more_than_a_run_takes_is_one_comparison(ticking: Ticking, monkeypatch: pytest.MonkeyPatch):
    for module in (changes, change_stream, sensing):
        monkeypatch.setattr(module, "MAX_IDS", 3)
    ticking.settled()
    found = films(ticking.shop)
    found.update_many({}, {"$set": {"text": "all at once"}})
    request = ticking.asked()
    assert "ids" not in handed(request)
    assert "3 documents and more have changed at once" in request.tags[run_tags.REASON]
    ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
    assert (
        ticking.skipped() == "nothing has changed"
    )  # it stands where it was when it was asked for
    # Of a large collection they are compared piece by piece.
    monkeypatch.setattr(sensing, "WHOLE_SHARE", 2.0)
    found.update_many({}, {"$set": {"text": "again"}})
    pieces = []
    for _ in range(2):
        request = ticking.asked()
        ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
        pieces.append(ids_of(request))
    assert [len(each) for each in pieces] == [3, 3]
    assert pieces[0] | pieces[1] == set(range(len(TEXTS)))


@pytest.mark.parametrize("token", [{"_data": "zz"}, {"_data": "8263"}, 5])
def test_a_token_that_is_none_costs_one_comparison(ticking: Ticking, token: Any):
    ticking.settled()
    films(ticking.shop).update_one({"_id": 0}, {"$set": {"text": "one"}})
    ticking.change_state(place=token)
    request = ticking.asked()
    assert "ids" not in handed(request)
    assert "its place in the change stream is lost" in request.tags[run_tags.REASON]
    ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
    films(ticking.shop).update_one({"_id": 1}, {"$set": {"text": "two"}})
    assert ids_of(ticking.asked()) == {1}


@pytest.mark.parametrize("end", ["drop", "rename away", "rename onto", "drop database"])
def test_another_collection_costs_one_comparison(ticking: Ticking, end: str):
    ticking.settled()
    database, found = ticking.shop.client[ticking.shop.database], films(ticking.shop)
    if end == "drop":
        found.drop()
    elif end == "rename away":
        found.rename("older")
    elif end == "rename onto":
        database["newer"].insert_one({"_id": 1, "text": "a text"})
        database["newer"].rename("films", dropTarget=True)
    else:
        ticking.shop.client.drop_database(ticking.shop.database)
    request = ticking.asked()
    assert "ids" not in handed(request)
    assert "the collection was" in request.tags[run_tags.REASON]
    ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
    assert ticking.skipped() == "nothing has changed"
    found.insert_one({"_id": 7, "text": "it goes on"})
    assert ids_of(ticking.asked()) == {7}


def test_what_is_due_besides_is_not_left_out(ticking: Ticking, monkeypatch: pytest.MonkeyPatch):
    assert ticking.run(ticking.asked())
    assert ticking.skipped() == "nothing has changed"
    ticking.change_state(settings="of before")
    request = ticking.asked()
    assert "the settings, or the code, have changed" in request.tags[run_tags.REASON]
    ticking.instance.report_run_failed(ticking.pretended(request, dg.DagsterRunStatus.STARTED))
    ticking.change_state(run_key="", looked=0)
    request = ticking.asked()
    assert "the latest run did not succeed" in request.tags[run_tags.REASON]
    ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
    registry = ticking.shop.client[ticking.shop.database]
    entry = {"pipeline": ticking.shop.name, "stage": "provider", "space": "", "text_hash": "a"}
    registry["embedding_quarantine"].insert_one({**entry, "_id": "asked for"})
    assert ticking.skipped() == "nothing has changed"  # it looked a moment ago
    ticking.change_state(looked=0)
    request = ticking.asked()
    assert "texts in quarantine are to be tried again" in request.tags[run_tags.REASON]
    # Nobody works on another space.
    registry["embedding_quarantine"].update_one({}, {"$set": {"lane": "a space of before"}})
    ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
    assert ticking.skipped() == "nothing has changed"
    # Nor does a job count whose texts the latest run has waited for, or wants no more.
    job = {"pipeline": ticking.shop.name, "job": "a", "at": now() - timedelta(days=1)}
    registry["embedding_jobs"].insert_one(job)
    ticking.change_state(looked=0)
    assert ticking.skipped() == "nothing has changed"
    registry["embedding_jobs"].update_one({}, {"$set": {"at": now() + timedelta(days=1)}})
    ticking.change_state(looked=0)
    assert "batch jobs have been submitted" in ticking.asked().tags[run_tags.REASON]


@pytest.mark.parametrize("limit", [None, 9])
def test_what_was_dropped_from_quarantine_is_asked_for_again(ticking: Ticking, limit: int | None):
    """Once: also where no run reads the source to its end."""
    shop = ticking.shop
    shop.configure({"source": {"limit": limit}})
    films(shop).insert_one({"_id": 10, "text": 5})
    assert ticking.run(ticking.asked())
    assert ticking.skipped() == "nothing has changed"
    (entry,) = shop.quarantine()
    with open_pipeline(shop.pipeline) as o:
        assert o.registry.drop_quarantined(shop.name) == 1
    ticking.change_state(looked=0)
    assert "were dropped" in reason(request := ticking.asked())
    assert ticking.run(request)
    assert list(shop.quarantine()) == [entry]
    ticking.change_state(looked=0)
    assert ticking.skipped() == "nothing has changed"


@pytest.mark.parametrize("looks", [False, True], ids=["with the next change", "by itself"])
def test_a_space_that_serves_again_is_compared_whole(ticking: Ticking, tmp_path: Path, looks: bool):
    """While another one served nobody has worked on it."""
    shop = ticking.shop
    assert ticking.run(ticking.asked())
    with open_pipeline(shop.pipeline) as o:
        first = o.main.space.id
    other = str(build_static_model(tmp_path / "other", seed=3))
    shop.configure({"embedder": {"provider": {"sentence_transformers": {"model": other}}}})
    films(shop).update_one({"_id": 0}, {"$set": {"text": "another ship"}})
    assert ticking.run(ticking.asked())
    with open_pipeline(shop.pipeline) as o:
        assert o.candidate
        spaces.promote(shop.pipeline, o.candidate.space.id, force="to see")
    for n, gone in ((1, 2), (3, 4)):
        films(shop).update_one({"_id": n}, {"$set": {"text": f"a boat of {n} oars"}})
        films(shop).delete_one({"_id": gone})
        request = ticking.asked()
        assert ids_of(request) == {n, gone}
        assert ticking.run(request)
    spaces.rollback(shop.pipeline, why="to see")
    if looks:
        ticking.change_state(looked=0)
        request = ticking.asked()
        assert "a space was not worked on while documents changed" in reason(request)
    else:
        films(shop).update_one({"_id": 5}, {"$set": {"text": "a calf"}})
        request = ticking.asked()
        assert ids_of(request) == {5}
    assert ticking.run(request)
    with open_pipeline(shop.pipeline) as o:
        assert o.record.serving == first
        there = o.serving.vector_store.path
    now_there = {row["_id"]: row[f"{there}_lineage"]["text_hash"] for row in shop.vectors.find()}
    wanted = {row["_id"]: hash_text(row["text"]) for row in films(shop).find()}
    assert now_there == wanted
    ticking.change_state(looked=0)
    assert ticking.skipped() == "nothing has changed"


@pytest.mark.parametrize(
    ("shards", "keep", "replaced"),
    [(1, True, False), (2, False, False), (1, False, True), (2, True, True)],
)
def test_after_a_run_that_went_well_nothing_is_due(
    ticking: Ticking,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shards: int,
    keep: bool,
    replaced: bool,
):
    """Or all would be compared every ten minutes: whatever spaces there are beside."""
    monkeypatch.setattr(runs, "FOLLOWS_SECONDS", -1)
    shop = ticking.shop
    shop.shards = shards
    models = [str(build_static_model(tmp_path / f"{n}", seed=n)) for n in (3, 4)]

    def settle(**change: Any) -> None:
        for resource, values in change.items():
            shop.configure({resource: values})
        request = ticking.asked()
        assert ticking.run(request)
        if shards > 1:
            given = {"run_config": {"resources": request.run_config["resources"]}}
            for shard in shard_names(shards):
                assert ticking.run_job(f"{shop.name}_shards", partition_key=shard, **given)
            assert ticking.run_job(f"{shop.name}_index", **given)

    settle()
    if replaced:  # and never finished
        with monkeypatch.context() as patch:
            patch.setattr(Stores, "record", lambda *given, **options: 1 / 0)
            model = {"provider": {"sentence_transformers": {"model": models[0]}}}
            shop.configure({"embedder": model, "model_change": {"mode": "replace"}})
            assert not ticking.run(ticking.asked()) or shards > 1
        ticking.skipped()  # it hears of it
        ticking.change_state(after=0)
    model = {"provider": {"sentence_transformers": {"model": models[1]}}}
    settle(embedder=model, model_change={"mode": "beside", "keep_serving": keep})
    films(shop).update_one({"_id": 0}, {"$set": {"text": "another ship"}})
    settle()
    for _ in range(3):
        ticking.change_state(looked=0)
        assert ticking.skipped() == "nothing has changed"


def test_after_whatever_many_failures_it_is_tried_again():
    """Once a number of seconds had no more room in a float, no tick came to its end."""
    state = State("films", handed=Wanted(("1",)))
    for _ in range(3_000):
        state = state.back(failed=True, now=0.0, pause=60.0, longest=3600.0)
        assert 60.0 <= state.after <= 3600.0


def test_a_run_is_found_behind_many_that_only_measure(ticking: Ticking):
    request = ticking.asked()
    run = ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
    job = ticking.definitions().resolve_job_def(ticking.shop.name)
    for _ in range(30):
        ticking.instance.create_run_for_job(
            dg.GraphDefinition(name=f"{job.name}_evaluation").to_job(),
            tags={run_tags.PIPELINE: job.name},
            status=dg.DagsterRunStatus.SUCCESS,
        )
    found = runs.latest(ticking.instance, job.name)
    assert found is not None
    assert found.dagster_run.run_id == run.run_id


def test_what_was_canceled_is_not_tried_again_at_once(ticking: Ticking):
    ticking.settled()
    films(ticking.shop).update_one({"_id": 0}, {"$set": {"text": "one"}})
    run = ticking.pretended(ticking.asked(), dg.DagsterRunStatus.STARTED)
    ticking.instance.report_run_canceled(run)
    assert "are tried again in 3600 s" in ticking.skipped()
    ticking.change_state(after=0)
    assert ids_of(ticking.asked()) == {0}


def test_runs_without_a_job_and_backfills_are_work_as_well(ticking: Ticking):
    ticking.settled()
    films(ticking.shop).update_one({"_id": 0}, {"$set": {"text": "one"}})
    stored = dg.AssetKey([ticking.shop.name, "stored_vectors"])
    alone = ticking.definitions().resolve_implicit_global_asset_job_def()
    run = ticking.instance.create_run_for_job(
        alone, asset_selection=frozenset([stored]), status=dg.DagsterRunStatus.STARTED
    )
    assert f"the run {run.run_id} is under way" in ticking.skipped()
    ticking.instance.report_run_canceled(run)
    backfill = PartitionBackfill(
        backfill_id=secrets.token_hex(4),
        status=BulkActionStatus.REQUESTED,
        from_failure=False,
        tags={},
        backfill_timestamp=0.0,
        asset_selection=[stored],
    )
    ticking.instance.add_backfill(backfill)
    assert f"the backfill {backfill.backfill_id} is under way" in ticking.skipped()
    ended = backfill.with_status(BulkActionStatus.COMPLETED_SUCCESS)
    ticking.instance.update_backfill(ended)
    assert ids_of(ticking.asked()) == {0}


def test_a_document_that_is_called_otherwise_has_changed(ticking: Ticking):
    found = films(ticking.shop)
    for n in range(len(TEXTS)):
        found.update_one({"_id": n}, {"$set": {"slug": f"film-{n}"}})
    ticking.shop.configure({"source": {"id_field": "slug"}})
    ticking.settled()
    found.update_one({"_id": 0}, {"$set": {"slug": "another"}})
    assert "cannot be found by their `_id`" in ticking.asked().tags[run_tags.REASON]


@pytest.mark.parametrize(("warn", "every"), [("4m", 60), ("2h", 600), (None, 600)])
def test_a_short_promise_is_looked_after_often(ticking: Ticking, warn: str | None, every: int):
    if warn:
        ticking.shop.configure({"freshness": {"warn": warn, "fail": "1d"}})
    ticking.settled()
    registry = ticking.shop.client[ticking.shop.database]
    entry = {"pipeline": ticking.shop.name, "stage": "provider", "space": "", "text_hash": "a"}
    registry["embedding_quarantine"].insert_one({**entry, "_id": "asked for"})
    looked = now().timestamp()
    ticking.change_state(looked=looked - every + 20)
    assert ticking.skipped() == "nothing has changed"
    ticking.change_state(looked=looked - every)
    assert "all is compared" in ticking.asked().tags[run_tags.REASON]


def test_a_cursor_that_says_nothing_is_as_none():
    good = State("films", place={"_data": "82"}, wanted=Wanted(("1",)), said="it").to_cursor()
    assert State.of_cursor(good, "films").wanted == Wanted(("1",))
    broken = [good.replace('"1"', '"{"'), good.replace('"wanted"', '"other"'), good[:-1]]
    for cursor in (None, "", "{", "[]", "5", '{"version": 1}', good.replace("films", "x"), *broken):
        assert State.of_cursor(cursor, "films") == State("films")


def test_a_cursor_holds_nothing_secret_and_no_text(
    ticking: Ticking, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WATCHED_URI", ticking.shop.uri + "&appName=hushhush")
    server = {"deployment": {"server": {"uri": {"env": "WATCHED_URI"}}}}
    ticking.shop.settings["mongodb"].pop("deployment")
    ticking.shop.configure({"mongodb": server})
    ticking.settled()
    films(ticking.shop).update_one({"_id": 0}, {"$set": {"text": "confidential"}})
    request = ticking.asked()
    for text in (ticking.cursor or "", json.dumps(request.run_config), str(request.tags)):
        assert "hushhush" not in text
        assert "confidential" not in text
    monkeypatch.delenv("WATCHED_URI")
    before = ticking.cursor
    assert ticking.skipped() == "WATCHED_URI must be set in the process that runs this sensor"
    assert ticking.cursor == before


def test_a_standalone_mongod_has_no_changes_to_tell(ticking: Ticking, mongod_uri: str):
    server = {"deployment": {"server": {"uri": mongod_uri}}}
    ticking.shop.configure({"mongodb": server})
    assert "no member of a replica set" in ticking.skipped()
    assert "no member of a replica set" in ticking.state()["said"]


def test_nor_has_a_view(ticking: Ticking):
    database = ticking.shop.client[ticking.shop.database]
    database.command("create", "shown", viewOn="films", pipeline=[])
    origin = {"database": ticking.shop.database, "collection": "shown"}
    ticking.shop.configure({"source": {"origin": {"collection": origin}}})
    assert "is a view or a time series" in ticking.skipped()


def test_an_embedded_server_is_not_even_started(ticking: Ticking):
    ticking.shop.settings["mongodb"].pop("deployment")
    ticking.shop.configure({"mongodb": {"deployment": {"embedded": {"folder": "none"}}}})
    assert "the embedded server keeps no changes" in ticking.skipped()


def test_files_that_are_others_than_before_are_read_again(ticking: Ticking):
    shop = ticking.shop
    shop.write([{"_id": "1", "text": "a text", "kind": "a"}])
    shop.configure({"source": {"origin": {"jsonl": {"path": str(shop.source)}}}})
    ticking.settled()
    os.utime(shop.source, (1, 1))
    request = ticking.asked()
    assert "ids" not in handed(request)
    assert "files of the source have changed" in request.tags[run_tags.REASON]
    ticking.pretended(request, dg.DagsterRunStatus.SUCCESS)
    assert ticking.skipped() == "nothing has changed"
    folder = shop.folder / "texts"
    folder.mkdir()
    (folder / "a.md").write_text("a text", "utf-8")
    shop.configure({"source": {"origin": {"folder": {"path": str(folder)}}}})
    ticking.settled()
    (folder / "b.md").write_text("another", "utf-8")
    assert "files of the source have changed" in ticking.asked().tags[run_tags.REASON]
    assert ticking.state()["handed"]["whole"]


def test_texts_of_the_configuration_cannot_be_watched(ticking: Ticking):
    ticking.shop.configure(
        {"source": {"origin": {"texts": {"documents": [{"_id": 1, "text": "one"}]}}}}
    )
    with pytest.raises(ConfigurationError, match="leave it out"):
        ticking.definitions()


def test_in_shards_a_plan_is_asked_for_and_waited_for_till_its_index(
    ticking: Ticking, monkeypatch: pytest.MonkeyPatch
):
    ticking.shop.shards = 2
    name = ticking.shop.name
    first = ticking.asked()
    assert [key.path[-1] for key in first.asset_selection or []] == ["source_documents"]
    assert ticking.run(first)
    films(ticking.shop).update_one({"_id": 0}, {"$set": {"text": "one"}})
    # The sensor of the shards has not launched any yet.
    assert "is under way: 1 documents that have changed wait for it" in ticking.skipped()
    of_shards = ticking.definitions().resolve_job_def(f"{name}_shards")
    shards = [
        ticking.instance.create_run_for_job(
            of_shards, tags={run_tags.PIPELINE: name}, status=status
        )
        for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS)
    ]
    assert f"the run {shards[0].run_id} is under way" in ticking.skipped()
    ticking.instance.report_run_failed(shards[0])
    # The index never follows: changes do not wait for it for ever.
    monkeypatch.setattr(runs, "FOLLOWS_SECONDS", -1)
    assert ids_of(ticking.asked()) == {0}


def test_in_shards_a_plan_that_is_not_carried_out_is_made_again(
    ticking: Ticking, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runs, "FOLLOWS_SECONDS", -1)
    ticking.shop.shards = 2
    assert ticking.run(ticking.asked())
    assert ticking.skipped() == "nothing has changed"
    ticking.change_state(looked=0)
    assert "shards of the newest plan" in ticking.asked().tags[run_tags.REASON]
