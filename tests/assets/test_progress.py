"""What a run's log says of long work: a model's loading, and how far it is within a batch."""

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from assets.work.planning import Planner
from resources.core import progress
from tests.machines import wait_for
from tests.models import build_short_sighted_model
from tests.workshop import Workshop, shared_instance


@pytest.fixture
def films(tmp_path, mongod_uri) -> Iterator[Workshop]:
    model = build_short_sighted_model(tmp_path / "model")
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", str(model))
    made.write([{"_id": n, "text": f"text number {n}", "kind": "film"} for n in range(100)])
    yield made
    made.client.drop_database(made.database)
    made.client.close()


def test_loading_and_a_batch_under_way_are_told(films: Workshop, monkeypatch):
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    run = films.run("source_documents", "embedding_batches")
    assert run.success, run.failures
    said = [entry.user_message for entry in shared_instance().all_logs(run.run_id)]
    model = films.model
    loading = said.index(f"loading {model} …")
    loaded = next(at for at, line in enumerate(said) if line.startswith(f"loading {model} took "))
    within = [at for at, line in enumerate(said) if " of 100 chunks embedded (" in line]
    assert loading < loaded < within[0]
    assert [said[at].split()[0] for at in within] == ["32", "64", "96"], "one batch, in passes"
    assert "/s, about " in said[within[0]]


def test_once_all_is_read_it_is_said_that_the_run_plans(films: Workshop, monkeypatch):
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.05)
    said: list[str] = []
    say, resolve = progress._Voice.say, Planner.resolve

    def heard(voice: Any, line: str) -> None:
        said.append(line)
        say(voice, line)

    def slowly(*arguments: Any, **options: Any) -> None:
        before = len(said)
        wait_for(lambda: len(said) > before + 2, "what is said")
        said.append("resolved")
        resolve(*arguments, **options)

    monkeypatch.setattr(progress._Voice, "say", heard)
    monkeypatch.setattr(Planner, "resolve", slowly)
    run = films.run("source_documents")
    assert run.success, run.failures
    lines = said[: said.index("resolved")][-2:]
    assert all(line.startswith("still planning, ") for line in lines), said
    found = run.source_documents
    assert found["records per second"] * found["seconds"] > 100, "the rate is that of reading"
