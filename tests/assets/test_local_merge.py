"""A run's last step: the local index follows the change, then is merged while it serves."""

from typing import Any
from unittest.mock import patch

import numpy as np

from resources.mongodb.lease import COLLECTION
from resources.search_index.local.engine import LocalEngine
from tests.workshop import Workshop


def documents(count: int, changed: int = 0) -> list[dict[str, Any]]:
    words = np.random.default_rng(1).choice(["ship", "star", "deck", "band", "cold"], (count, 6))
    return [
        {"_id": f"d{n}", "text": f"{' '.join(row)} {n}{' new' if n < changed else ''}", "kind": "a"}
        for n, row in enumerate(words.tolist())
    ]


def test_a_merge_begins_when_the_version_serves_and_nobody_holds_the_pipeline(
    workshop: Workshop,
) -> None:
    workshop.configure({"search_index": {"engine": "local", "exact_below": 20}})
    workshop.write(documents(100))
    first = workshop.run()
    assert first.success, first.failures
    assert "vectors merged" not in first.search_index
    seen: list[Any] = []
    merge = LocalEngine.merge

    def watched(self: LocalEngine, *args: Any) -> Any:
        lane = workshop.client[workshop.database][COLLECTION].find_one({"_id": "films"})
        seen.append(lane)
        served = self.serve()
        seen.append(len(served.version.segments))
        return merge(self, *args)

    workshop.write(documents(100, changed=15))
    with patch.object(LocalEngine, "merge", watched):
        run = workshop.run()
    assert run.success, run.failures
    assert seen[0] is None or not seen[0].get("run"), "the lease is held while it merges"
    assert seen[1] == 2
    found = run.search_index
    assert (found["vectors read"], found["rows deleted"], found["segments"]) == (15, 15, 2)
    assert found["vectors merged"] == 100
    assert found["merge seconds"] >= 0
    assert all(run.checks.values()), run.checks
    assert workshop.search("ship star", limit=1).hits
    again = workshop.run()
    assert not again.search_index["rebuilt"]
    assert again.search_index["segments"] == 1
    assert "vectors merged" not in again.search_index


def test_a_merge_that_fails_costs_nothing_and_is_tried_again(workshop: Workshop) -> None:
    workshop.configure({"search_index": {"engine": "local", "exact_below": 20}})
    workshop.write(documents(100))
    assert workshop.run().success
    workshop.write(documents(100, changed=15))

    def full(*args: Any) -> Any:
        raise OSError("no space left on device")

    with patch("resources.search_index.local.merging.merged", full):
        run = workshop.run()
    assert run.success, run.failures
    assert run.search_index["not merged because"] == "no space left on device"
    assert run.search_index["vectors indexed"] == 100
    again = workshop.run()
    assert again.search_index["vectors merged"] == 100, "it is still due"
