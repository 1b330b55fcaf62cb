"""The check that warns of a model that its maker gives up, and says how to leave it."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from resources.models.catalogue import VARIABLE
from tests.workshop import Workshop, shared_instance


def told(workshop: Workshop) -> dg.AssetCheckEvaluation:
    """What the check said of the latest run."""
    key = dg.AssetCheckKey(dg.AssetKey([workshop.name, "stored_vectors"]), "model_is_current")
    storage = shared_instance().event_log_storage
    (record,) = storage.get_asset_check_execution_history(key, limit=1)
    assert record.event
    assert record.event.dagster_event
    found: Any = record.event.dagster_event.event_specific_data
    return found


@pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)
def test_a_model_that_is_given_up_is_warned_of(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    workshop.write([{"_id": 1, "text": "one", "kind": "a"}])
    first = workshop.run()
    assert first.checks["model_is_current"]
    assert "not in the catalogue" in (told(workshop).description or "")
    entry = {
        "dimensions": [64],
        "status": "legacy",
        "successor": "sentence-transformers/all-MiniLM-L6-v2",
    }
    file = tmp_path / "models.yaml"
    file.write_text(yaml.safe_dump({"models": {"sentence_transformers/static": entry}}), "utf-8")
    monkeypatch.setenv(VARIABLE, str(file))
    run = workshop.run()
    assert run.success, "it only warns"
    assert not run.checks["model_is_current"]
    found = told(workshop)
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert "static is legacy" in (found.description or "")
    assert "embeddings run films -c embedder/minilm.yaml" in (found.description or "")
    assert found.metadata["successor"].value == entry["successor"]
