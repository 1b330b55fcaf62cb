"""A listing cuts nothing, however wide the terminal, and folds only prose."""

import io

import pytest

from pipelines.cli.terminal import Column, Listing, facts, lines
from pipelines.framework.console import Screen, styled

ID = "65f0a1b2c3d4e5f601234567-of-a-chunk#7"
MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
COMMAND = "embeddings run films -c mongodb/server.yaml"
WHY = "the provider refuses it: the text is longer than the model reads, which is a pity"


def listing(*, prose: bool) -> Listing:
    made = Listing(
        Column("id", style="cyan"),
        "model",
        Column("times", right=True, total="12"),
        Column("why", prose=prose),
    )
    made.row(ID, lines([MODEL, styled("[dim]{command}[/dim]", command=COMMAND)]), "12", WHY)
    made.row("short", "m", "0", "-", style="dim")
    return made


@pytest.mark.parametrize("prose", [False, True])
@pytest.mark.parametrize("width", [10, 40, 60, 72, *range(84, 120, 3), *range(180, 204, 2)])
def test_what_is_copied_is_whole(width: int, prose: bool):
    screen = Screen(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    listing(prose=prose).show(screen)
    shown = screen.file.getvalue()
    for whole in (ID, MODEL, COMMAND, "short", "12"):
        assert any(whole in line for line in shown.splitlines()), shown
    assert " ".join(WHY.split()[:2]) in shown
    assert "…" not in shown


def test_one_row_is_one_line_where_it_is_no_terminal():
    screen = Screen(file=io.StringIO(), _environ={"COLUMNS": "20"})
    listing(prose=True).show(screen)
    (line,) = [line for line in screen.file.getvalue().splitlines() if ID in line]
    assert all(whole in line for whole in (MODEL, COMMAND, WHY))


def test_an_entry_is_a_block_where_the_terminal_is_narrow():
    screen = Screen(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    listing(prose=True).show(screen)
    first = screen.file.getvalue().strip().split("\n\n")[0].splitlines()
    assert first == [ID, f"  model {MODEL} {COMMAND} · times 12", f"  why: {WHY}"]


def test_facts_are_a_line_each():
    screen = Screen(file=io.StringIO(), width=20, force_terminal=True, color_system=None)
    facts({"id": ID, "a model": MODEL}, screen)
    assert screen.file.getvalue().strip().splitlines() == [f"id       {ID}", f" a model  {MODEL}"]
