"""`embeddings evaluate` as it is typed."""

import json
from pathlib import Path

import pytest

from tests.pipelines.helpers import MOTH, SHOP, Place, embeddings, refuses, succeeds

QUERIES = [
    {"id": "m", "query": MOTH, "relevant": ["moth"]},
    {"id": "k", "query": "bake a loaf", "relevant": ["loaf", "soup"]},
]


@pytest.fixture(scope="module")
def queries(place: Place, first_run: str) -> str:
    path = place.folder / "judged.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in QUERIES), "utf-8")
    return str(path)


@pytest.fixture
def here(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place.folder)
    return place.folder


def test_a_row_for_each_candidate_and_what_it_means(place: Place, queries: str, here: Path):
    place.config("cut", source={"chunking": {"recursive": {"size": 12, "overlap": 0}}})
    place.config("bits", vector_store={"dtype": "int8"})
    shown = succeeds(
        "evaluate", SHOP, "--queries", queries, "-c", "cut.yaml", "-c", "cut.yaml+bits.yaml",
        "--mode", "text", "--report", "page.html", "--export-run", "runs",
    )  # fmt: skip
    lines = [line for line in shown.splitlines() if "yaml" in line and "64" in line]
    assert any("cut.yaml " in line and "64 float32" in line for line in lines)
    assert any("cut.yaml+bits.yaml" in line and "64 int8" in line for line in lines)
    words = " ".join(shown.split())
    assert "The pipeline as it stands (64 float32) has nDCG@10" in words
    assert "2 queries are few" in words
    assert "Embedded for it" in words
    assert (here / "page.html").read_text("utf-8").startswith("<!doctype html>")
    assert sorted(path.name for path in (here / "runs").iterdir())[-1] == "qrels.txt"


def test_with_a_plus_in_its_name_a_file_is_one(place: Place, queries: str, here: Path):
    place.config("a+b", vector_store={"dtype": "int8"})
    found = json.loads(succeeds("evaluate", SHOP, "--queries", queries, "-c", "a+b.yaml", "--json"))
    assert [row["candidate"] for row in found["rows"]] == ["as it stands", "a+b.yaml"]
    assert found["rows"][1]["stored_as"] == "int8"


def test_without_queries_it_says_how_to_get_some(place: Place, first_run: str):
    assert "queries: {generated:" in refuses("evaluate", SHOP)


@pytest.mark.parametrize(
    ("option", "value"),
    [("--dimensions", "12,many"), ("--dimensions", "0"), ("--mode", "vector,words")],
)
def test_what_there_is_not_is_a_wrong_call(place: Place, first_run: str, option: str, value: str):
    assert embeddings("evaluate", SHOP, option, value).exit_code == 2


def test_a_format_that_there_is_not_is_refused(place: Place, queries: str):
    said = refuses("evaluate", SHOP, "--queries", queries, "--format", "int4")
    assert said == (
        "there is no format 'int4': choose among float32, array, int8, packed_bit, "
        "packed_bit+int8, packed_bit+float32"
    )


def test_a_candidate_that_is_no_file_is_named(place: Place, queries: str):
    assert "nowhere.yaml" in refuses("evaluate", SHOP, "--queries", queries, "-c", "nowhere.yaml")


def test_only_what_was_measured_is_accepted(place: Place, first_run: str):
    assert "nothing was measured yet" in refuses("evaluate", SHOP, "--accept", "nobody")


@pytest.mark.parametrize("option", ["--report", "--export-run"])
def test_where_its_files_cannot_be_written_nothing_is_compared(
    place: Place, queries: str, here: Path, option: str
):
    there = here / "taken" / "within"
    there.mkdir(parents=True, exist_ok=True)
    (there / "file").touch()
    for wrong in (there, there / "no" / "page.html") if option == "--report" else (there / "file",):
        said = refuses("evaluate", SHOP, "--queries", queries, option, str(wrong))
        assert "cannot be written to" in said
        assert "folder" in said
