"""What keeps a command of `embeddings` from working is one sentence, and what `doctor` says."""

import json
from pathlib import Path
from typing import Any

import pytest

from resources.mongodb import embedded
from tests import servers
from tests.pipelines.helpers import MOTH, SHOP, Place, embeddings, refuses, succeeds


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([" "], ["query is empty"]),
        ([MOTH, "--filter", '{"colour": "red"}'], ["colour", "kind"]),
        ([MOTH, "--filter", '{"kind": {"$regex": "k"}}'], ["'kind'", "Regex"]),
    ],
    ids=["empty", "undeclared field", "operator"],
)
def test_search_refuses(first_run: str, arguments: list[str], words: list[str]):
    sentence = refuses("search", SHOP, *arguments)
    assert all(word in sentence for word in words), sentence


def test_search_refuses_another_space(first_run: str):
    sentence = refuses("search", SHOP, MOTH, "-c", "embedder/minilm.yaml")
    for words in ("static-64-", "all-minilm-l6-v2-384-", "--space", "embeddings run shop"):
        assert words in sentence


def test_search_before_the_first_run(place: Place, first_run: str):
    empty = place.config("empty", vector_store={"database": "empty"})
    sentence = refuses("search", SHOP, MOTH, "-c", empty)
    assert "has no index empty.documents:embedding:vector_index yet" in sentence
    assert "embeddings run" in sentence


def test_unknown_pipeline():
    sentence = refuses("run", "quickstrat")
    assert sentence == "there is no pipeline 'quickstrat'; there are: airbnb, quickstart"
    assert "declares no `pipeline = EmbeddingPipeline" in refuses(
        "search", "pipelines.operations.search", "x"
    )


def test_missing_variable(place: Place):
    assert "needs VOYAGE_API_KEY and MONGODB_URI" in refuses("run", "airbnb")
    for command in (["search", "airbnb", "sea view"], ["lineage", "airbnb"]):
        assert "MONGODB_URI" in refuses(*command)
    assert "needs VOYAGE_API_KEY for its embedder" in refuses(
        "search", SHOP, MOTH, "-c", "embedder/voyage.yaml"
    )


@pytest.mark.parametrize("command", [["run", SHOP], ["search", SHOP, MOTH], ["lineage", SHOP]])
def test_no_server(place: Place, command: list[str], monkeypatch: pytest.MonkeyPatch):
    port = servers.free_port()
    monkeypatch.setenv("MONGODB_URI", f"mongodb://ada:sekret-123@127.0.0.1:{port}")
    closed = place.config("closed", mongodb={"deployment": {"server": {}}, "timeout_seconds": 0.5})
    sentence = refuses(*command, "-c", closed)
    assert f"MongoDB at 127.0.0.1:{port} cannot be reached" in sentence
    assert "sekret-123" not in sentence


@pytest.mark.parametrize("command", [["run", SHOP], ["search", SHOP, MOTH]])
def test_wrong_password(
    place: Place, first_run: str, command: list[str], monkeypatch: pytest.MonkeyPatch
):
    uri = embedded.ensure_running(place.folder / "state" / "mongodb")
    password = uri.split("@")[0].rsplit(":", 1)[1]
    monkeypatch.setenv("MONGODB_URI", uri.replace(password, "sekret-123"))
    sentence = refuses(*command, "-c", "mongodb/server.yaml")
    assert "refuses the user name or password" in sentence
    assert "sekret-123" not in sentence


@pytest.mark.parametrize("command", [["run", SHOP], ["search", SHOP, MOTH]])
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("acme/no-such-model", "cannot be reached"),
        ("no such model", "there is no model 'no such model'"),
    ],
)
def test_no_such_model(place: Place, first_run: str, command: list[str], model: str, words: str):
    provider = {"sentence_transformers": {"model": model}}
    wrong = place.config("model", embedder={"provider": provider})
    sentence = refuses(*command, "-c", wrong)
    assert words in sentence
    assert model in sentence


def test_missing_source_file(place: Place):
    wrong = place.config("source", source={"origin": {"jsonl": {"path": "data/gone.jsonl"}}})
    sentence = refuses("run", SHOP, "-c", wrong)
    assert sentence.startswith("source_documents: there is no file data/gone.jsonl")


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"embeder": {}}, ["resources", "'embeder'", "embedder"]),
        ({"source": {"txt": "a"}}, ["resources.source.config", "'txt'", "text"]),
        ({"source": {"limit": "9"}}, ["resources.source.config.limit", "integer", "'9'"]),
        ({"source": {"limit": 0}}, ["resources.source.config.limit", "greater"]),
        (
            {"embedder": {"provider": {"cohere": {}}}},
            ["resources.embedder.config.provider", "'cohere'", "openai", "voyage"],
        ),
        (
            {"search_index": {"similarity": "dot"}},
            ["resources.search_index.config.similarity", "'cosine', 'dotProduct' or 'euclidean'"],
        ),
    ],
    ids=["resource", "key", "type", "range", "variant", "value"],
)
@pytest.mark.parametrize("command", [["run", SHOP], ["search", SHOP, MOTH]])
def test_wrong_yaml(place: Place, command: list[str], resources: dict[str, Any], words: list[str]):
    wrong = place.config("wrong-key", **resources)
    sentence = refuses(*command, "-c", wrong)
    assert all(word in sentence for word in ["wrong-key.yaml", *words]), sentence


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resources: [", "line 2: this is not YAML"),
        ("- resources", "a run config is a mapping"),
        ("resources: source", "resources: a mapping belongs here, not 'source'"),
        (None, "there is no run config"),
    ],
)
def test_damaged_yaml(place: Place, text: str | None, words: str):
    file = place.folder / "damaged.yaml"
    file.unlink(missing_ok=True)
    if text is not None:
        file.write_text(text + "\n", "utf-8")
    sentence = refuses("run", SHOP, "-c", str(file))
    assert "damaged.yaml" in sentence
    assert words in sentence


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "Missing argument 'PIPELINE'"),
        (["serch", "quickstart"], "No such command 'serch'"),
        (["search", SHOP], "Missing argument 'QUERY'"),
        (["search", SHOP, MOTH, "--limit", "0"], "--limit"),
        (["search", SHOP, MOTH, "--mode", "magic"], "'vector', 'text', 'hybrid'"),
        (["search", SHOP, MOTH, "--filter", "{kind: nature}"], "it is not JSON"),
        (["search", SHOP, MOTH, "--filter", "[1]"], "it must be a JSON object"),
        (["quarantine", "drop", SHOP], "or give --all"),
    ],
)
def test_wrong_usage_is_exit_status_2(arguments: list[str], words: str):
    result = embeddings(*arguments)
    assert result.exit_code == 2
    assert words in " ".join(result.output.replace("│", " ").split())
    assert "Traceback" not in result.output


# --- doctor, stop


def test_doctor_ready(place: Place, first_run: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("VOYAGE_API_KEY", "sekret-123")
    output = succeeds("doctor", SHOP)
    assert f"ready to run {SHOP}" in output
    assert "VOYAGE_API_KEY: set" in output
    assert "OPENAI_API_KEY: not set" in output
    assert "sekret-123" not in output
    for topic in ("Python", "packages", "source", "model", "MongoDB", "vector store"):
        assert f"✓ {topic}:" in output
    assert "ready" in succeeds("doctor")


@pytest.mark.parametrize(
    ("name", "resources", "words"),
    [
        ("source", {"origin": {"jsonl": {"path": "data/gone.jsonl"}}}, "there is no file"),
        ("embedder", {"provider": {"sentence_transformers": {"model": "a b"}}}, "no model 'a b'"),
        ("vector_store", {"in_place": True}, "in_place: true"),
        ("search_index", {"similarity": "dot"}, "similarity"),
        (
            "search_index",
            {"engine": "mongodb"},
            "search_index has `engine: mongodb`, but there is no",
        ),
        ("rerank", {"provider": {"sentence_transformers": {"model": "a b"}}}, "no model 'a b'"),
        ("rerank", {"provider": {"mongodb": {}}}, "this deployment has no `$rerank`"),
    ],
    ids=["file", "model", "store", "yaml", "engine", "reranker", "stage"],
)
def test_doctor_says_what_to_fix(
    place: Place, first_run: str, name: str, resources: dict[str, Any], words: str
):
    result = embeddings("doctor", SHOP, "-c", place.config("sick", **{name: resources}))
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert "1 to fix before it can run" in result.output
    (problem,) = [line for line in result.output.splitlines() if line.startswith("✗")]
    assert words in problem


@pytest.mark.parametrize(
    ("name", "resources", "variable"),
    [
        ("embedder", {"provider": {"voyage": {"api_key": {"env": "NO_KEY"}}}}, "NO_KEY"),
        ("mongodb", {"deployment": {"server": {}}}, "MONGODB_URI"),
        ("rerank", {"provider": {"voyage": {"api_key": {"env": "NO_KEY"}}}}, "NO_KEY"),
    ],
)
def test_doctor_and_plan_list_what_must_be_set_and_a_run_refuses(
    place: Place, first_run: str, name: str, resources: dict[str, Any], variable: str
):
    config = place.config("unset", **{name: resources})
    needed = f"a run needs {variable} for its {name}: set it"
    told = succeeds("doctor", SHOP, "-c", config)
    assert needed in told
    assert f"ready to run {SHOP}, once {variable} is set" in told
    planned = succeeds("plan", SHOP, "-c", config)
    assert needed in planned
    assert ("to embed" in planned) == (name != "mongodb")
    assert json.loads(succeeds("plan", SHOP, "--json", "-c", config))["missing"] == {variable: name}
    assert f"needs {variable}: set it in the environment" in refuses("run", SHOP, "-c", config)


@pytest.mark.parametrize(
    "resources",
    [
        {"search_index": {"engine": "mongodb"}},
        {"search_index": {"similarity": "cosine"}, "vector_store": {"dtype": "packed_bit"}},
        {"vector_store": {"in_place": True}},
        {"batch_store": {"url": "/proc/nowhere"}},
        {
            "embedder": {"max_tokens": 1},
            "source": {"origin": {"texts": {"documents": ["never met"]}}},
        },
    ],
    ids=["engine", "similarity", "in place", "batch store", "budget"],
)
def test_what_a_run_refuses_plan_and_doctor_refuse_with_the_same_sentence(
    place: Place, first_run: str, resources: dict[str, Any]
):
    fresh = {"collection": "another"} | resources.get("vector_store", {})
    config = place.config("refused", **(resources | {"vector_store": fresh}))
    sentence = refuses("run", SHOP, "-c", config).rsplit("source_documents: ", 1)[-1]
    sentence = sentence.removeprefix("embedding_batches: ").strip()
    assert len(sentence) > 40
    planned = embeddings("plan", SHOP, "-c", config)
    assert planned.exit_code == 1
    assert sentence in planned.output
    if "embedder" in resources:  # what the work would cost, only reading the source tells
        return
    told = embeddings("doctor", SHOP, "-c", config)
    assert told.exit_code == 1
    what, way_out = sentence.split(": ", 1) if "`" not in sentence else (sentence[:40], "")
    assert what in told.output
    assert way_out in told.output


def test_doctor_leaves_nothing_behind(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("EMBEDDINGS_HOME", str(tmp_path / "state"))
    assert "starts with the first run" in succeeds("doctor", SHOP)
    assert list(tmp_path.iterdir()) == []


def test_stop(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("EMBEDDINGS_HOME", str(tmp_path))
    folder = tmp_path / "mongodb"
    embedded.ensure_running(folder)
    assert f"stopped the embedded server in {folder}" in succeeds("stop")
    assert embedded.running(folder) is None
    assert "no embedded server is running" in succeeds("stop")
    assert "no embedded server is running" in succeeds("stop", "airbnb")
    assert "there is no pipeline" in refuses("stop", "nobody")


def test_nothing_of_a_server_without_search_reads_like_an_error(first_run: str):
    """The embedded server has words of its own for it."""
    assert "no Vector Search here, so the local engine serves the index" in first_run
    for command in (["doctor", SHOP], ["plan", SHOP], ["index", "list", SHOP]):
        output = embeddings(*command).output
        assert not [words for words in ("nrecognized", "not supported") if words in output]
    assert "no Vector Search here, and so no search indexes" in output
