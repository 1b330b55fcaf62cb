"""What a run is found by: tags, whoever launched it and whatever it holds."""

import dataclasses

import dagster as dg
import pytest

from assets import run_tags, tagging
from tests.workshop import Workshop, shared_instance

on_mongod = pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)

TEXTS = [{"_id": n, "text": f"text {n}"} for n in range(5)]


@pytest.fixture
def films(workshop: Workshop) -> Workshop:
    workshop.write(TEXTS)
    return workshop


@on_mongod
def test_a_run_says_what_it_is_and_came_to(films: Workshop):
    first = films.run(tags={"dagster/from_ui": "true"})
    said = {
        run_tags.PIPELINE: "films",
        run_tags.SPACE: first.source_documents["space"],
        run_tags.MODEL: first.embedding_batches["model"],
    }
    assert said.items() <= first.tags.items()
    assert (first.tags[run_tags.EMBEDDED], first.tags[run_tags.CHANGED]) == ("5", "5")
    assert first.tags[run_tags.REASON] == "Dagster UI"
    idle = films.run()
    assert run_tags.REASON not in idle.tags, "nobody says why"
    assert said.items() <= idle.tags.items()
    assert (idle.tags[run_tags.EMBEDDED], idle.tags[run_tags.CHANGED]) == ("0", "0")
    # Executed again, it begins with the tags of the run before.
    before = {"dagster/parent_run_id": first.run_id, "dagster/root_run_id": first.run_id}
    again = films.run("search_index", tags={**first.tags, **before, run_tags.COST: "0.12"})
    assert again.tags[run_tags.REASON] == tagging.AGAIN
    results = (run_tags.EMBEDDED, run_tags.COST, run_tags.CHANGED)
    assert [again.tags[name] for name in results] == ["0", "0", "0"]
    films.write([*TEXTS[1:], {"_id": 9, "text": "another"}])
    part = films.run("source_documents")
    assert part.tags[run_tags.CHANGED] == "0"
    assert run_tags.EMBEDDED not in part.tags
    # Whoever launches a run may give it any tags.
    rest = films.run("embedding_batches", "stored_vectors", tags={run_tags.CHANGED: "a lot"})
    # One deleted, one new.
    assert (rest.tags[run_tags.EMBEDDED], rest.tags[run_tags.CHANGED]) == ("1", "2")
    assert films.run("search_index").tags[run_tags.CHANGED] == "2"


@on_mongod
def test_a_run_that_fails_says_whose_it_is(films: Workshop):
    films.source.unlink()
    run = films.run()
    assert not run.success
    assert run.tags[run_tags.PIPELINE] == "films"


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({}, None),
        ({"dagster/from_ui": "true"}, "Dagster UI"),
        ({"dagster/from_ui": "true", "dagster/backfill": "b"}, "backfill"),
        ({"dagster/schedule_name": "nightly"}, "schedule"),
        ({"dagster/sensor_name": "s", "dagster/from_automation_condition": "true"}, "automation"),
        ({"dagster/sensor_name": "watcher"}, "sensor"),
        ({"dagster/from_ui": "true", run_tags.REASON: "repair"}, "repair"),
    ],
)
def test_the_reason_is_what_the_launcher_or_dagster_says(tags: dict[str, str], reason: str | None):
    assert tagging.reason(tags) == reason


@on_mongod
def test_a_run_may_hold_what_fills_the_source_and_what_follows_the_index(films: Workshop):
    films.source.unlink()

    @dg.asset(key=["films", "raw"])
    def raw() -> None:
        films.write(TEXTS)

    @dg.asset(deps=[dg.AssetKey(["films", "search_index"])])
    def served() -> None:
        # The pipeline is not held any more, or this would wait for the run it is in.
        films.configure({"mongodb": {"lease_wait_seconds": 0}})
        assert films.run("source_documents").success

    def run() -> dg.ExecuteInProcessResult:
        ours = dataclasses.replace(films.pipeline, deps=["films/raw"])
        made = dg.Definitions.merge(ours.definitions(), dg.Definitions(assets=[raw, served]))
        job = made.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=shared_instance(), raise_on_error=False)

    assert run().success
    assert len(films.stored()) == 5
    # What cannot be served is refused by the first asset of ours, before anything is read.
    films.configure({"search_index": {"engine": "mongodb"}})
    (failed,) = [event.step_key for event in run().all_events if event.is_step_failure]
    assert failed == "films__source_documents"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (12, "12"), (0.012345678, "0.012346"), (1e-9, "0"), (100.5, "100.5")],
)
def test_a_number_has_no_exponent(value: float, text: str):
    assert tagging.number(value) == text
