"""`embeddings index …`, the fall-back of `engine: auto` and `doctor`, with and without search."""

import json
import secrets
import sys
from collections.abc import Iterator

import pymongo
import pytest

from tests.pipelines.helpers import (
    DOCUMENTS,
    MOTH,
    Place,
    corpus_settings,
    refuses,
    succeeds,
    write_jsonl,
    write_pipeline,
)
from tests.search_node import SearchNode, search_node

PIPELINE = "index_pipelines.films"


@pytest.fixture
def node(
    request: pytest.FixtureRequest,
    tmp_path,
    mongod_uri: str,
    static_model: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[SearchNode]:
    name = f"test_{secrets.token_hex(6)}"
    place = Place(tmp_path)
    write_jsonl(place.source, DOCUMENTS)
    with search_node(mongod_uri) as started:
        settings = corpus_settings(place.source, static_model, database=name)
        settings["search_index"] |= {"poll_seconds": 0.05, **getattr(request, "param", {})}
        settings["mongodb"] = {"deployment": {"server": {"uri": started.uri}}, "registry": name}
        configs = [place.config("films", **settings)]
        write_pipeline(place.folder / "index_pipelines", "films", configs)
        monkeypatch.syspath_prepend(place.folder)
        monkeypatch.setenv("EMBEDDINGS_HOME", str(place.folder / "state"))
        monkeypatch.setenv("DAGSTER_HOME", "")
        monkeypatch.delenv("DAGSTER_HOME")
        yield started
        for module in (PIPELINE, PIPELINE.split(".", maxsplit=1)[0]):
            sys.modules.pop(module, None)
        with pymongo.MongoClient(mongod_uri) as client:
            client.drop_database(name)


def test_an_index_is_listed_searched_and_dropped(node):
    assert "has no search index yet" in succeeds("index", "list", PIPELINE)
    assert "6 of 6 indexed by the engine mongodb" in " ".join(succeeds("run", PIPELINE).split())
    listed = succeeds("index", "list", PIPELINE)
    assert "vector_index *" in listed
    assert "READY" in listed
    (entry,) = json.loads(succeeds("index", "list", PIPELINE, "--json"))
    assert entry["indexed"] == len(DOCUMENTS)
    shown = succeeds("search", PIPELINE, MOTH, "--limit", "1", "--explain")
    assert "moth" in shown
    assert '"$vectorSearch"' in shown
    assert "score: (1 + dot product) / 2" in shown
    assert "search engine: mongodb" in succeeds("doctor", PIPELINE)

    assert "has no search index other" in refuses(
        "index", "drop", PIPELINE, "--name", "other", "--yes"
    )
    assert "dropped vector_index" in succeeds("index", "drop", PIPELINE, "--yes")
    # A dropped index is silence on the server; here it has a cause.
    assert "there is no index vector_index" in succeeds("search", PIPELINE, MOTH)
    succeeds("run", PIPELINE)
    assert "moth" in succeeds("search", PIPELINE, MOTH, "--limit", "1")


def test_without_search_nodes_auto_says_what_it_does_instead(node):
    node.enabled = False
    said = " ".join(succeeds("run", PIPELINE).split())
    assert "the local engine serves the index" in said
    assert "moth" in succeeds("search", PIPELINE, MOTH, "--limit", "1")
    assert "searched by the local engine" in refuses("index", "list", PIPELINE)
    # once there are search nodes, the next run moves to them
    node.enabled = True
    assert "by the engine mongodb" in " ".join(succeeds("run", PIPELINE).split())


@pytest.mark.parametrize("node", [{"text": {"analyzer": "lucene.english"}}], indirect=True)
def test_both_indexes_of_a_pipeline_are_listed_and_dropped(node):
    assert "build vector_index and vector_index_text" in " ".join(
        succeeds("index", "list", PIPELINE).split()
    )
    succeeds("run", PIPELINE)
    listed = succeeds("index", "list", PIPELINE)
    assert "vector_index *" in listed
    assert "vector_index_text *" in listed
    assert "lucene.english" in listed
    assert "dropped vector_index_text" in succeeds(
        "index", "drop", PIPELINE, "--name", "vector_index_text", "--yes"
    )
    listed = succeeds("index", "list", PIPELINE)
    assert "vector_index_text" not in listed
    succeeds("run", PIPELINE)
    dropped = succeeds("index", "drop", PIPELINE, "--yes")
    assert "dropped vector_index of" in dropped
    assert "dropped vector_index_text of" in dropped
    succeeds("index", "list", PIPELINE)
    assert "has no search index vector_index; it has: none" in " ".join(
        refuses("index", "drop", PIPELINE, "--yes").split()
    )
