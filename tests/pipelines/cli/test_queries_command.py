"""`embeddings queries PIPELINE …`: a set is looked at, written by a model, imported, exported."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.helpers import SHOP, Place, embeddings, refuses, succeeds, write_jsonl
from tests.providers.chat import ChatServer

JUDGED: list[dict[str, Any]] = [
    {"id": "light", "query": "insects at a lamp", "relevant": ["moth"]},
    {"id": "wood", "query": "woodwork", "relevant": [{"id": 6, "grade": 2}, "bolt"]},
    {"id": "food", "query": "cooking", "relevant": ["loaf", "soup"], "filter": {"kind": "kitchen"}},
    {"id": "none", "query": "space travel", "relevant": []},
]


def chosen(place: Place, name: str, **queries: Any) -> str:
    return place.config(name, evaluation={"queries": queries})


@pytest.fixture(scope="module")
def judged(place: Place) -> str:
    path = write_jsonl(place.folder / "judged.jsonl", JUDGED)
    return chosen(place, "judged", jsonl={"path": str(path)})


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "test-key")
    with ChatServer(lambda messages: json.dumps([messages[-1]["content"][:9] + "?"])) as server:
        yield server


def test_list_shows_them_with_what_they_can_claim(place: Place, judged: str):
    shown = succeeds("queries", SHOP, "list", "-c", judged, "--limit", "3")
    for part in (
        "judged.jsonl",
        "insects at a lamp",
        "6 (2), bolt",
        '{"kind": "kitchen"}',
        "1 more",
    ):
        assert part in shown
    found = json.loads(succeeds("queries", SHOP, "list", "-c", judged, "--json"))
    assert (found["count"], found["answerable"], found["known_item"]) == (4, 3, False)
    assert found["queries"][1]["relevant"] == [
        {"id": 6, "grade": 2}, {"id": "bolt", "grade": 1},
    ]  # fmt: skip


def test_generated_ones_are_made_of_the_documents(place: Place):
    config = chosen(place, "made", generated={"from": "first_sentence", "sample": 4, "seed": 1})
    found = json.loads(succeeds("queries", SHOP, "list", "-c", config, "--json"))
    assert (found["count"], found["known_item"]) == (4, True)
    assert any("part of the text that is embedded" in note for note in found["notes"])
    other = chosen(place, "other", generated={"seed": 2, "sample": 4})
    merged = succeeds("queries", SHOP, "list", "-c", config, "-c", other, "--json")
    assert json.loads(merged)["digest"] != found["digest"]
    shown = succeeds("queries", SHOP, "generate", "-c", config)
    assert "made anew whenever they are read" in shown
    assert found["queries"][0]["id"] in shown
    shown = succeeds("queries", SHOP, "generate", "-c", config, "--json")
    assert json.loads(shown) == found


def test_what_is_exported_is_imported_as_the_same_set(place: Place, judged: str, tmp_path: Path):
    digest = json.loads(succeeds("queries", SHOP, "list", "-c", judged, "--json"))["digest"]
    imported = chosen(place, "imported", imported={})
    assert "import FILE" in refuses("queries", SHOP, "list", "-c", imported)
    for name in ("set.jsonl", "set.csv", "set.trec"):
        form = ["--format", "trec"] if name.endswith("trec") else []
        said = succeeds(
            "queries", SHOP, "export", str(tmp_path / name), *form, "-c", judged, "--json"
        )
        first, *topics = json.loads(said)["files"]
        options = ["--topics", *topics] if topics else []
        done = json.loads(
            succeeds("queries", SHOP, "import", first, *options, "-c", imported, "--json")
        )
        assert done["digest"] == digest
        assert (done["queries"], done["used"]) == (4, True)
        assert done["changed"] == (name == "set.jsonl")
    again = json.loads(succeeds("queries", SHOP, "list", "-c", imported, "--json"))
    assert (again["digest"], again["count"]) == (digest, 4)
    # Another set in its place, unasked and asked.
    other = str(write_jsonl(tmp_path / "other.jsonl", JUDGED[:1]))
    said = refuses("queries", SHOP, "import", other, "-c", imported)
    assert "has another set of 4 queries" in said
    assert "--replace puts the 1" in said
    shown = succeeds("queries", SHOP, "import", other, "--replace")
    assert "1 queries are imported" in shown
    assert "`evaluation` needs `queries: {imported: {}}`" in " ".join(shown.split())


@pytest.mark.parametrize(
    ("name", "content", "options", "said"),
    [
        ("set.txt", "", [], "set.txt: say in which format it is, as `--format jsonl`"),
        ("set.qrels", "", ["--format", "trec"], "name the file of the queries with `--topics"),
        ("a.jsonl", "{", [], "a.jsonl:1: not JSON"),
        (
            "b.jsonl",
            '{"id": "b", "query": "what?", "relevant": [], "filter": {"year": 5}}',
            [],
            "query 'b' of jsonl .*b.jsonl cannot be asked: the filter names 'year', which is not",
        ),
        (
            "c.jsonl",
            '{"id": "c", "query": "what?", "relevant": [], "filter": {"kind": {"$near": 5}}}',
            [],
            "query 'c' .* cannot be asked: unknown filter operator \\$near; allowed are",
        ),
        (
            "d.jsonl",
            '{"query": "what?", "relevant": ["x"]}',
            ["--ids", "integer"],
            "the judged id x cannot be an id of `ids: integer`",
        ),
        ("none.jsonl", None, [], "there is no file .*none.jsonl"),
    ],
)  # fmt: skip
def test_what_cannot_be_imported_is_said_in_a_sentence(
    place: Place, tmp_path: Path, name: str, content: str | None, options: list[str], said: str
):
    if content is not None:
        (tmp_path / name).write_text(content, "utf-8")
    assert re.search(said, refuses("queries", SHOP, "import", str(tmp_path / name), *options))


def test_exports_need_a_format_and_a_folder(place: Place, judged: str, tmp_path: Path):
    said = refuses("queries", SHOP, "export", str(tmp_path / "set.txt"), "-c", judged)
    assert "say in which format" in said
    said = refuses("queries", SHOP, "export", str(tmp_path / "no" / "set.csv"), "-c", judged)
    assert said.startswith("there is no folder")


def test_without_queries_it_is_said_how_to_have_some(place: Place):
    said = refuses("queries", SHOP, "list")
    assert "`queries: {generated: {from: first_sentence}}`" in said
    assert "which nothing writes" in refuses("queries", SHOP, "generate")


def test_a_model_writes_them_once_and_its_cost_is_said_before(place: Place, chat: ChatServer):
    by_model = {
        "model": chat.MODEL, "base_url": chat.url, "sample": 4,
        "usd_per_million_input": 1.0, "usd_per_million_output": 4.0, "max_cost_usd": 1.0,
    }  # fmt: skip
    config = chosen(place, "by_model", by_model=by_model)
    said = refuses("queries", SHOP, "list", "-c", config)
    assert "`embeddings queries shop generate` has them written" in said
    shown = succeeds("queries", SHOP, "generate", "--dry-run", "-c", config)
    assert "stub-chat is to be asked about 4 documents" in " ".join(shown.split())
    assert not chat.asked
    done = json.loads(succeeds("queries", SHOP, "generate", "-c", config, "--json"))
    assert (done["estimate"]["documents"], done["written"]["questions"]) == (4, 4)
    assert 0 < done["written"]["cost_usd"] < done["estimate"]["cost_usd"]
    shown = succeeds("queries", SHOP, "generate", "-c", config)
    assert "nothing is to be asked: 4 documents have their questions" in shown
    assert len(chat.asked) == 4
    found = json.loads(succeeds("queries", SHOP, "list", "-c", config, "--json"))
    assert found["count"] == 4
    assert any("was written by stub-chat" in note for note in found["notes"])
    poor = chosen(place, "poor", by_model={**by_model, "sample": 6, "max_cost_usd": 1e-9})
    assert "nothing is spent" in refuses("queries", SHOP, "generate", "-c", poor)


def test_what_could_not_be_asked_is_told_and_the_status_says_so(place: Place, chat: ChatServer):
    chat.answer = lambda messages: {"message": {"refusal": "No."}}
    by_model = {"model": chat.MODEL, "base_url": chat.url, "sample": 2, "seed": 9}
    config = chosen(place, "refusing", by_model={**by_model, "prompt": "Ask {count} questions."})
    result = embeddings("queries", SHOP, "generate", "-c", config)
    assert result.exit_code == 1
    assert result.stdout.count("the model refuses: No") == 2
    assert "0 questions about 0 documents are kept" in " ".join(result.stdout.split())
