"""Commands that take an id take any, say when several match, and obey none in the terminal."""

import json
import re

import pytest

from pipelines.framework.console import plain
from tests.pipelines.helpers import (
    DOCUMENTS,
    SHOP,
    Place,
    embeddings,
    refuses,
    succeeds,
    write_jsonl,
)


def test_an_id_is_found_by_its_text_or_as_extended_json(place):
    oid = "65f0a1b2c3d4e5f601234567"
    ids = ["5", 5, {"$oid": oid}, 7.5, {"a": 1}, "plain"]
    more = [{"_id": i, "text": f"text {n}"} for n, i in enumerate(ids)]
    write_jsonl(place.source, [*DOCUMENTS, *more])
    succeeds("run", SHOP)
    for given in ("plain", oid, "7.5", '{"a": 1}', '"5"', '{"$numberInt": "5"}', '{"a": 1.0}'):
        assert json.loads(succeeds("lineage", SHOP, "--id", given, "--json"))["lineage"]
    both = refuses("lineage", SHOP, "--id", "5")
    assert '"5"' in both
    assert '{"$numberInt": "5"}' in both
    assert "there is no document" in refuses("lineage", SHOP, "--id", "nobody")


def test_so_are_entries_of_the_quarantine(place):
    ids = ["6", 6, {"$date": "2024-01-01T00:00:00Z"}]
    with place.source.open("a") as source:  # what is there stays
        source.writelines(json.dumps({"_id": i, "text": " "}) + "\n" for i in ids)
    succeeds("run", SHOP)
    assert "may be several" in refuses("quarantine", "drop", SHOP, "6")
    assert "1 dropped" in succeeds("quarantine", "drop", SHOP, '"6"')
    assert "1 dropped" in succeeds("quarantine", "drop", SHOP, "6")
    date = '{"$date": "2024-01-01T00:00:00Z"}'
    assert "1 dropped" in succeeds("quarantine", "drop", SHOP, date)


# --- ids and texts that would do something

ID = "root:x:0:0 \x1b]0;mine\x07 [bold]\u202egnp[/bold]"
TEXT = (
    "A \x1b[31mred\x1b[0m lantern\b\b\b in the harbour [link=http://evil.example]here[/link] \x9b2J"
)
BARE = {"_id": f"void {ID}", "text": " "}

CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.fixture(scope="module")
def nasty_run(place: Place) -> str:
    with place.source.open("a") as source:  # what is there stays
        source.writelines(
            json.dumps(each) + "\n" for each in ({"_id": ID, "text": TEXT, "kind": ID}, BARE)
        )
    return succeeds("run", SHOP)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["search", SHOP, "red lantern", "--explain"], [plain(ID), plain(TEXT)]),
        (["search", SHOP, ID], [plain(ID)]),
        (["lineage", SHOP], ["static"]),
        (["lineage", SHOP, "--id", ID], [plain(ID)]),
        (["lineage", SHOP, "--id", f"no {ID}"], ["there is no document"]),
        (["quarantine", "list", SHOP], [plain(BARE["_id"])]),
        (["plan", SHOP], ["what a run would do"]),
        (["audit", SHOP], [SHOP]),
        (["doctor", SHOP], ["pre-flight"]),
        (["spend", SHOP], ["static"]),
        (["run", ID], ["there is no pipeline"]),
        (["run", SHOP, "-c", f"{ID}.yaml"], ["there is no run config"]),
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_nothing_of_it_reaches_the_terminal_as_a_command(
    nasty_run: str, arguments: list[str], words: list[str], as_json: bool
):
    assert not CONTROL.search(nasty_run)
    result = embeddings(*arguments, *(["--json"] if as_json else []))
    assert not CONTROL.search(result.output)
    if not as_json:
        assert all(word in " ".join(result.output.split("\n")) for word in words), result.output
    elif result.exit_code == 0:
        json.loads(result.stdout)
    else:
        assert result.stdout == ""
