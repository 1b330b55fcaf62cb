"""What a run says of the space that it has built beside the one that serves, and what is next."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.cli import run as command
from pipelines.framework.execution import run
from tests.models import build_static_model
from tests.pipelines.helpers import write_config
from tests.workshop import Workshop


@pytest.fixture
def films(
    tmp_path: Path, mongod_uri: str, static_model: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workshop]:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    made = Workshop(tmp_path, mongod_uri, f"test_{secrets.token_hex(6)}", static_model)
    made.write([{"_id": n, "text": f"film {n} of the sea and {n % 3} ships"} for n in range(30)])
    yield made
    made.client.drop_database(made.database)
    made.client.close()


@pytest.mark.parametrize("promote", ["manual", "auto"])
def test_to_promote_it_or_that_it_serves(
    films: Workshop, promote: str, capsys: pytest.CaptureFixture[str]
):
    assert run(films.pipeline).candidate is None
    other = str(build_static_model(films.folder / "other", seed=7))
    overrides = [
        write_config(
            films.folder / "other.yaml",
            embedder={"provider": {"sentence_transformers": {"model": other}}},
            model_change={"promote": promote, "gate": {"max_worse": 1.0}},
        )
    ]
    outcome = run(films.pipeline, overrides)
    assert outcome.candidate
    space, found = outcome.candidate.entry.space_id, outcome.to_json()["candidate"]
    command.show(outcome, "films", overrides)
    said = capsys.readouterr().out
    asks = f"embeddings promote films {space}"
    if promote == "auto":
        assert found["promoted"]
        assert not found["next"]
        assert "it serves from now on: `promote: auto`" in said
        assert asks not in said
        assert films.search("ships").space.id == space
    else:
        assert not found["promoted"]
        assert found["next"] == asks
        assert asks in said
        assert films.search("ships").space.id != space
