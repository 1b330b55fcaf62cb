"""What a run's log says of long work: a model's loading, and how far it is within a batch."""

import secrets
from collections.abc import Iterator

import pytest

from resources.core import progress
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
