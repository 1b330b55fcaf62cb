"""Commands that take an id take any, and say when several match."""

import json

from tests.pipelines.helpers import DOCUMENTS, SHOP, refuses, succeeds, write_jsonl


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
