"""`embeddings quarantine …` over a source with records that cannot be embedded."""

import json

from tests.pipelines.helpers import DOCUMENTS, SHOP, refuses, succeeds, write_jsonl


def test_what_cannot_be_embedded_is_listed_dropped_and_comes_back(place):
    write_jsonl(place.source, [*DOCUMENTS, {"_id": "void", "text": " "}, {"text": "nameless"}])
    succeeds("run", SHOP)
    listed = json.loads(succeeds("quarantine", "list", SHOP, "--json"))
    assert [entry["id"] for entry in listed] == ["void", None]
    assert all(entry["count"] == 1 for entry in listed)
    shown = succeeds("quarantine", "list", SHOP)
    assert "void" in shown
    assert "times" in shown

    assert "1 dropped" in succeeds("quarantine", "drop", SHOP, "void")
    assert len(json.loads(succeeds("quarantine", "list", SHOP, "--json"))) == 1
    assert "1 will be tried again" in succeeds("quarantine", "retry", SHOP, listed[1]["where"])
    assert "'void' is not in the quarantine" in refuses("quarantine", "drop", SHOP, "void")

    succeeds("run", SHOP)
    assert len(json.loads(succeeds("quarantine", "list", SHOP, "--json"))) == 2
    write_jsonl(place.source, DOCUMENTS)
    succeeds("run", SHOP)
    assert "nothing of" in succeeds("quarantine", "list", SHOP)
