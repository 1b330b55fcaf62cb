"""Two spaces are asked one question: what each finds, side by side, in Python and in a terminal."""

import json
import sys
from types import SimpleNamespace

import pytest
from scipy.stats import kendalltau
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.operations.search import open_searcher
from pipelines.operations.spaces import compare
from resources.core.errors import QueryRefused
from tests.two_spaces import TwoSpaces

QUERY = "a number like 13"


def test_both_rankings_stand_side_by_side(two: TwoSpaces):
    found = compare(two.shop.pipeline, QUERY)
    assert (found.a.space, found.a.state) == (two.first, "serving")
    assert found.b.space == two.second
    with open_searcher(two.shop.pipeline, follow=False) as searcher:
        lists = [
            [hit.source_id for hit in searcher.search(QUERY, limit=10, space=space).hits]
            for space in (two.first, two.second)
        ]
    for side, ids in enumerate(lists):
        ranked = [(row.ranks[side], row.source_id) for row in found.rows if row.ranks[side]]
        assert [each for _, each in sorted(ranked)] == ids
        assert all((row.ranks[side] is None) == (row.scores[side] is None) for row in found.rows)
    shared = [each for each in lists[0] if each in lists[1]]
    assert 1 < len(shared) < 10, "else it would prove little"
    assert found.both == len(shared)
    assert found.only == (10 - len(shared), 10 - len(shared))
    assert found.overlap == len(shared) / 10
    places = [[ids.index(each) for each in shared] for ids in lists]
    assert found.kendall_tau == pytest.approx(kendalltau(*places)[0])
    assert found.rows[0].source_id == 13
    other = compare(two.shop.pipeline, QUERY, two.second, two.first, limit=3)
    assert (other.a.space, other.b.space) == (two.second, two.first)
    assert {row.ranks[::-1]: row.source_id for row in other.rows}.items() <= {
        tuple(rank if rank and rank <= 3 else None for rank in row.ranks): row.source_id
        for row in found.rows
    }.items()
    assert other.overlap == found.overlap, "it is always of ten"


def test_what_does_not_compare_is_refused(two: TwoSpaces):
    with pytest.raises(QueryRefused, match=f"both are the space {two.first}"):
        compare(two.shop.pipeline, QUERY, two.first, two.first)
    with pytest.raises(QueryRefused, match="has no space whose id begins with 'x'"):
        compare(two.shop.pipeline, QUERY, "x")
    two.note(two.second, retired=True)
    try:
        with pytest.raises(QueryRefused, match="films has 1 space, and two are compared"):
            compare(two.shop.pipeline, QUERY)
    finally:
        two.note(two.second, retired=False)


def test_the_command_shows_it_in_80_columns_and_as_json(two: TwoSpaces, monkeypatch):
    monkeypatch.setitem(sys.modules, "shop.films", SimpleNamespace(pipeline=two.shop.pipeline))
    monkeypatch.setenv("COLUMNS", "80")
    invoke = CliRunner().invoke
    shown = invoke(app, ["compare", "shop.films", two.second, QUERY, "--limit", "4"])
    assert shown.exit_code == 0, shown.output
    assert f"A  {two.first}" in shown.output
    assert f"B  {two.second}" in shown.output
    assert "overlap@10 0." in shown.output
    assert "Kendall's tau" in shown.output
    told = json.loads(invoke(app, ["compare", "shop.films", QUERY, "--json"]).stdout)
    found = compare(two.shop.pipeline, QUERY)
    assert told["overlap@10"] == found.overlap
    assert [row["source_id"] for row in told["rows"]] == [row.source_id for row in found.rows]
    assert [row["rank_b"] for row in told["rows"]] == [row.ranks[1] for row in found.rows]
    assert invoke(app, ["compare", "shop.films", "a", "b", "c", "d"]).exit_code == 2
    refused = invoke(app, ["compare", "shop.films", "nothing", QUERY])
    assert refused.exit_code == 1


def test_the_search_command_asks_another_space(two: TwoSpaces, monkeypatch):
    monkeypatch.setitem(sys.modules, "shop.films", SimpleNamespace(pipeline=two.shop.pipeline))
    asked = ["search", "shop.films", QUERY, "--json"]
    invoke = CliRunner().invoke
    assert json.loads(invoke(app, asked).stdout)["space"] == two.first
    assert json.loads(invoke(app, [*asked, "--space", two.second]).stdout)["space"] == two.second
    lines = invoke(app, ["search", "shop.films", "-", "--json", "--space", two.second], "a\nb\n")
    assert [json.loads(line)["space"] for line in lines.stdout.splitlines()] == [two.second] * 2
    refused = invoke(app, ["search", "shop.films", QUERY, "--space", "x"])
    assert refused.exit_code == 1
    assert f"{two.first} (serving)" in " ".join(refused.output.split())
