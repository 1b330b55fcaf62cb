"""A failure says why where it is read: in the step's event, in the run's, and in an alert."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.workshop import Workshop, shared_instance


@pytest.fixture
def films(tmp_path: Path, mongod_uri: str, static_model: str) -> Iterator[Workshop]:
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write([{"_id": n, "text": f"text number {n}", "kind": "film"} for n in range(3)])
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def fail(workshop: Workshop) -> dg.ExecuteInProcessResult:
    job = workshop.pipeline.definitions().resolve_job_def(workshop.name)
    result = job.execute_in_process(raise_on_error=False, instance=shared_instance())
    assert not result.success
    return result


def told(result: dg.ExecuteInProcessResult) -> str:
    """What the first failing step says, once it is certain that the run says the same."""
    failed = [event for event in result.all_events if event.is_step_failure]
    (run,) = (event for event in result.all_events if event.is_failure and not event.step_key)
    data, of_run = failed[0].step_failure_data, run.job_failure_data
    assert data.error
    assert data.error == of_run.error
    # Neither a trace, nor one of what caused it.
    assert (data.error.stack, data.error.cause, data.error.context) == ([], None, None)
    assert data.user_failure_data
    # What an alert puts into its message.
    assert data.error_display_string.strip() == data.user_failure_data.description
    return data.error_display_string.strip()


def test_a_failed_check_says_why_and_stops_what_follows(films: Workshop):
    assert films.run().success
    stranger = films.stored()[1]
    stranger["_id"] = "stranger"
    stranger["embedding_lineage"] |= {"space": "another-64", "pipeline": "another"}
    films.vectors.insert_one(stranger)
    result = fail(films)
    assert told(result) == (
        f"the check one_space failed: {films.database}.vectors:embedding also holds 1 of "
        "another-64: materialize the pipeline they belong to, or give each space a path of its own"
    )
    # The evaluation is there as well, with all that it knows, and blocks as before.
    found = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert not found["one_space"].passed
    assert found["one_space"].blocking
    assert found["one_space"].metadata["vectors of other spaces"].value == 1
    assert found["all_stored"].passed
    done = {event.asset_key.path[-1] for event in result.get_asset_materialization_events()}
    assert done == {"source_documents", "embedding_batches", "stored_vectors"}


def test_an_error_that_a_person_can_act_on_is_its_sentence(films: Workshop):
    films.source.unlink()
    result = fail(films)
    assert told(result) == f"there is no file {films.source}"
    # The trace is in the log, for who asks for that level.
    logs = shared_instance().all_logs(result.run_id)
    (debug,) = (entry for entry in logs if "Traceback" in (entry.user_message or ""))
    assert debug.level == 10
    assert "SourceError" in debug.user_message
    assert "site-packages/dagster" not in debug.user_message
