"""`embeddings models`: filters, order, table and JSON."""

import json

import pytest
import typer
from typer.testing import CliRunner

from pipelines.cli import models as command
from pipelines.cli.models import ProviderChoice, StatusChoice, chosen, listing
from pipelines.framework.console import Screen
from resources.models.catalogue import STATUSES, VARIABLE, load_catalogue
from resources.models.kinds import kinds

app = typer.Typer()
app.command("models")(command.models)
# With one command only, typer would take "models" for an argument.
app.command("other")(lambda: None)


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


def run(*arguments: str):
    return CliRunner().invoke(app, ["models", *arguments])


def rows(*arguments: str) -> list[dict]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def names(*arguments: str) -> list[str]:
    return [row["model"] for row in rows(*arguments)]


def test_the_choices_are_the_catalogues():
    assert [str(choice) for choice in ProviderChoice] == list(kinds())
    assert [str(choice) for choice in StatusChoice] == list(STATUSES)


def test_nothing_is_hidden_and_active_models_come_first():
    found = rows()
    assert len(found) + len(rows("--rerank")) == len(load_catalogue())
    states = [row["status"] for row in found]
    assert states == sorted(states, key=STATUSES.index)
    assert found[0]["model"] == "voyage-4-large"


def test_json_has_the_figures_and_their_sources():
    (row,) = [row for row in rows("--provider", "voyage") if row["model"] == "voyage-4-large"]
    assert row["price"]["usd_per_million"] == 0.12
    assert row["price"]["date"]
    assert row["price"]["source"]
    assert row["space"] == "voyage-4"
    assert "successor" not in row


def test_filters():
    assert {row["provider"] for row in rows("--provider", "openai")} == {"openai"}
    assert {row["status"] for row in rows("--status", "legacy")} == {"legacy"}
    assert rows("--status", "deprecated") == []
    assert all(max(row["dimensions"]) >= 2048 for row in rows("--min-dims", "2048"))
    assert "text-embedding-3-large" in names("--min-dims", "3072")
    assert "voyage-4-nano" in names("--local")
    assert {row["local"] for row in rows("--hosted")} == {False}
    assert names("--provider", "voyage", "--status", "active", "--max-price", "0.06") == [
        "voyage-4",
        "voyage-4-lite",
        "voyage-4-nano",
    ]


def test_what_is_not_known_passes_no_filter_on_it():
    assert "voyage-code-4" not in names("--max-price", "1000")
    assert "sentence-transformers/all-MiniLM-L6-v2" in names("--max-price", "0")
    small = rows("--max-size", "0.2")
    assert {row["provider"] for row in small} == {"sentence_transformers"}
    assert all(row["size"]["gigabytes"] <= 0.2 for row in small)


def test_the_table():
    result = run()
    assert result.exit_code == 0
    cells = [" ".join(line.split()) for line in result.output.splitlines()]
    assert "voyage-4-large 1024 256-2048 32,000 0.12 2026-11 RTEB 71.41 active voyage-4" in cells
    assert "BAAI/bge-base-en-v1.5 768 512 local 0.44 GB BEIR 53.25 active its own" in cells
    assert "→ voyage-4-large" in result.output


@pytest.mark.parametrize("width", [40, 80, 100, 120])
def test_no_name_is_broken_however_narrow_the_terminal(width, capsys):
    listing(chosen(load_catalogue().values())).show(Screen(width=width, force_terminal=True))
    lines = capsys.readouterr().out.splitlines()
    for entry in load_catalogue().values():
        assert entry.task != "embed" or any(entry.model in line for line in lines)


def test_legacy_models_are_dimmed(capsys):
    listing(chosen(load_catalogue().values())).show(Screen(width=80, force_terminal=True))
    shown = capsys.readouterr().out
    assert shown.index("voyage-4-large") < shown.index("\x1b[1;2m")


def test_no_model_is_like_that():
    result = run("--provider", "openai", "--local")
    assert result.exit_code == 0
    assert f"none of the {len(rows())} models is like that" in result.output


def test_models_that_rerank_have_a_list_of_their_own():
    assert names("--rerank") == ["rerank-3", "rerank-3-lite", "rerank-2.5", "rerank-2.5-lite"]
    assert names("--rerank", "--max-price", "0.03") == ["rerank-2.5-lite"]
    assert names("--rerank", "--min-dims", "1") == []
    assert not set(names()) & set(names("--rerank"))
    assert "→ rerank-3-lite" in run("--rerank").output


def test_models_of_the_users_own_file(monkeypatch, tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text(
        "models: {'openai/[our] model': {dimensions: [4], successor: b, status: deprecated}}",
        "utf-8",
    )
    monkeypatch.setenv(VARIABLE, str(path))
    assert names("--status", "deprecated") == ["[our] model"]
    output = run("--status", "deprecated").output
    assert "[our] model" in output
    assert "→ b" in output


def test_a_bad_file_is_one_sentence_and_exit_status_1(monkeypatch, tmp_path):
    path = tmp_path / "models.yaml"
    path.write_text("models: {openai/a: {dimensions: [four]}}", "utf-8")
    monkeypatch.setenv(VARIABLE, str(path))
    result = run()
    assert result.exit_code == 1
    assert "error:" in result.output
    assert "openai/a: dimensions.0: input should be a valid integer, not 'four'" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments", [("--provider", "cohere"), ("--status", "old"), ("--min-dims", "0")]
)
def test_bad_options_are_refused(arguments):
    assert run(*arguments).exit_code == 2
