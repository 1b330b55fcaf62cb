"""The command `embeddings`, from its arguments to what it prints."""

import json
from typing import Any

import dagster as dg
import pytest

from pipelines.operations.search import search
from resources.core.errors import QueryRefused
from tests.pipelines.helpers import DOCUMENTS, MOTH, SHOP, Place, refuses, succeeds, write_jsonl


def test_list():
    assert succeeds("list").split() == ["airbnb", "quickstart"]


# --- run


def test_run_says_what_it_did(first_run: str):
    assert "6 documents: 6 new, 0 changed, 0 unchanged, 0 deleted" in first_run
    assert "6 texts by static" in first_run
    assert "6 written, 6 stored" in first_run
    assert "6 of 6 indexed by the engine local" in first_run


def test_run_is_recorded_where_the_ui_looks(place: Place, first_run: str):
    with dg.DagsterInstance.from_config(str(place.folder / "state" / "dagster")) as instance:
        runs = list(instance.get_runs())
    assert {run.job_name for run in runs} == {"shop"}
    assert {run.tags["embeddings/reason"] for run in runs} == {"command line"}


def test_run_again_embeds_nothing(first_run: str):
    output = succeeds("run", SHOP)
    assert "0 new, 0 changed, 6 unchanged" in output
    assert "nothing embedded: every text has its vector" in output
    assert "up to date" in output


def test_run_with_overrides_goes_where_they_say(place: Place, first_run: str):
    source = write_jsonl(place.folder / "two.jsonl", DOCUMENTS[:2])
    other = place.config(
        "other", source={"origin": {"jsonl": {"path": str(source)}}}, vector_store={"database": "x"}
    )
    assert "2 documents: 2 new" in succeeds("run", SHOP, "-c", other)
    assert len(json.loads(succeeds("search", SHOP, MOTH, "--json", "-c", other))["hits"]) == 2
    assert len(json.loads(succeeds("search", SHOP, MOTH, "--json"))["hits"]) == 5


def test_the_last_of_two_overrides_chooses_the_variant(place: Place, first_run: str):
    nowhere = place.config("nowhere", mongodb={"deployment": {"server": {"uri": "mongodb://x:1"}}})
    output = succeeds("run", SHOP, "-c", nowhere, "-c", "mongodb/embedded.yaml", "--json")
    found = json.loads(output)
    became = found["source_documents"]["is"]
    assert became == dict.fromkeys(became, 0) | {"unchanged": 6}
    assert (found["stored_vectors"]["stored"], found["search_index"]["indexed"]) == (6, 6)
    assert found["failed_checks"] == []
    # The project's workspace does not name this pipeline of a test.
    (note,) = found["notes"]
    assert "workspace.yaml names no code location that shop is in" in note


def test_run_quarantines_a_record_and_says_so(place: Place, first_run: str):
    documents = [*DOCUMENTS, {"_id": "mute", "kind": "nature"}]
    source = write_jsonl(place.folder / "mute.jsonl", documents)
    mute = place.config(
        "mute", source={"origin": {"jsonl": {"path": str(source)}}}, vector_store={"database": "m"}
    )
    output = succeeds("run", SHOP, "-c", mute)
    assert "6 documents: 6 new" in output
    assert "1 quarantined" in " ".join(output.split())  # a cell wraps where it likes
    assert "check few_in_quarantine:" in output


# --- search


def test_search_finds_the_text_itself(first_run: str):
    output = succeeds("search", SHOP, MOTH)
    assert MOTH in output
    assert "1.0000" in output
    assert "engine local" in output


def test_search_as_json(first_run: str):
    answer = json.loads(succeeds("search", SHOP, MOTH, "--json", "--limit", "3"))
    assert answer["query"] == MOTH
    assert answer["index"] == "shop.documents:embedding:vector_index"
    assert answer["engine"] == "local"
    assert answer["model"] == "static"
    hits = answer["hits"]
    assert [len(hits), hits[0]["id"], hits[0]["text"]] == [3, "moth", MOTH]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    assert hits[0]["fields"] == {"kind": "nature"}
    assert hits[0]["lineage"]["space"] == answer["space"]
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True)


def test_search_filters(first_run: str):
    where = '{"kind": {"$in": ["kitchen"]}}'
    hits = json.loads(succeeds("search", SHOP, MOTH, "--json", "--filter", where))["hits"]
    assert {hit["id"] for hit in hits} == {"loaf", "soup"}
    assert "none of the 6 indexed documents passes the filter" in succeeds(
        "search", SHOP, MOTH, "--filter", '{"kind": "opera"}'
    )


def test_search_exact_finds_the_same(first_run: str):
    exact = json.loads(succeeds("search", SHOP, "rest the oak", "--json", "--exact"))
    assert exact["hits"] == json.loads(succeeds("search", SHOP, "rest the oak", "--json"))["hits"]


def test_search_from_python(first_run: str):
    answer = search(SHOP, MOTH, limit=1, filter={"kind": "nature"})
    (hit,) = answer.hits
    assert (hit.id, hit.text, hit.fields) == ("moth", MOTH, {"kind": "nature"})
    assert hit.lineage["space"] == answer.space.id
    with pytest.raises(QueryRefused, match="colour"):
        search(SHOP, MOTH, filter={"colour": "red"})


# --- lineage


def test_lineage_of_all_vectors(first_run: str):
    assert "6 vectors" in succeeds("lineage", SHOP)
    (model,) = json.loads(succeeds("lineage", SHOP, "--json"))
    assert (model["model"], model["vectors"]) == ("static", 6)
    assert model["meaning"]["dimensions"] == 64
    assert model["first"] <= model["last"]


@pytest.mark.parametrize("document", ["tide", 6])
def test_lineage_of_one_vector(first_run: str, document: Any):
    found = json.loads(succeeds("lineage", SHOP, "--id", str(document), "--json"))
    assert found["id"] == document
    assert found["lineage"]["space"].startswith("static-64-")
    assert found["batch"]["run"] == found["lineage"]["run"]
    output = succeeds("lineage", SHOP, "--id", str(document))
    for value in (found["lineage"]["run"], found["lineage"]["batch"], "sentence-transformers"):
        assert value in output


def test_lineage_of_no_vector(place: Place, first_run: str):
    assert refuses("lineage", SHOP, "--id", "ghost") == (
        "there is no document 'ghost' in shop.documents"
    )
    empty = place.config("empty", vector_store={"database": "empty"})
    assert "has no vectors yet" in succeeds("lineage", SHOP, "-c", empty)
    assert json.loads(succeeds("lineage", SHOP, "-c", empty, "--json")) == []
