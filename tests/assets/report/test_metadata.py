"""What stands on the pages of assets and checks: numbers to plot, tables of data, no Markdown."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from tests.workshop import Workshop, shared_instance

pytestmark = pytest.mark.parametrize("mongodb_uri", ["mongod"], indirect=True)

HOSTILE = "![](http://127.0.0.1:1/x.png) <img src=http://127.0.0.1:1/y> # | [a](javascript:b)"
QUANTITY = re.compile(r"-?[\d.,]+( (of|vectors|rows|%|s|ms|USD)\b.*)?|\$[\d.]+")
"""What a number looks like that was made a text."""


def test_numbers_are_numbers_and_texts_of_documents_are_in_tables(
    workshop: Workshop, tmp_path: Path
):
    long = {"_id": f"<b>{HOSTILE}", "text": HOSTILE + " long" * 1_000, "kind": HOSTILE}
    empty = [{"_id": f"{HOSTILE} {n}", "text": ""} for n in range(30)]
    workshop.write([long, {"_id": 2, "text": "plain", "kind": ["a", HOSTILE]}, *empty])
    workshop.configure({"batch_store": {"keep_days": 1}})
    job = workshop.pipeline.definitions().resolve_job_def("films")
    done = job.execute_in_process(instance=shared_instance(), raise_on_error=False)
    made = {e.asset_key.path[-1]: e.step_materialization_data.materialization.metadata
            for e in done.get_asset_materialization_events() if e.asset_key}  # fmt: skip
    assert len(made) == 5
    checks = done.get_asset_check_evaluations()
    assert len(checks) == 12
    for check in checks:
        made[check.check_name] = check.metadata
        assert "![" not in (check.description or "")
    for asset, metadata in made.items():
        for name, value in metadata.items():
            at = f"{asset}: {name}"
            assert not isinstance(value, dg.MarkdownMetadataValue), at
            if isinstance(value, dg.TextMetadataValue):
                assert not QUANTITY.fullmatch(value.value or ""), at
            if isinstance(value, dg.TableMetadataValue):
                assert 1 <= len(value.records) <= 20, at
                for record in value.records:
                    cells = [cell for cell in record.data.values() if isinstance(cell, str)]
                    assert all(len(cell) <= 300 and "\n" not in cell for cell in cells), at
    preview = made["source_documents"]["preview"]
    assert isinstance(preview, dg.TableMetadataValue)
    assert preview.records[0].data["text"] == HOSTILE[:59] + "…"
    assert made["stored_vectors"]["in quarantine"].value == 30
    assert made["few_in_quarantine"]["in quarantine"].value == 30
    told = made["source_documents"]["all of the quarantine"].value
    assert told == "embeddings quarantine list films"
    # What was known before the run is what the run says, and more exactly.
    declared = job.asset_layer.asset_graph
    for asset in ("source_documents", "embedding_batches", "stored_vectors", "search_index"):
        before = declared.get(dg.AssetKey(["films", asset])).metadata
        assert set(before) <= set(made[asset])
        for name in ("dagster/column_lineage", "dagster/table_name"):
            assert before.get(name) == getattr(made[asset].get(name), "value", None) or (
                before.get(name) == made[asset][name].column_lineage
            )
    schema: Any = made["embedding_batches"]["dagster/column_schema"].value
    vector = next(column for column in schema.columns if column.name == "vector")
    assert vector.type == "fixed_size_list<float>[64]"
