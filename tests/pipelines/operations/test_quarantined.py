"""What stands in quarantine, over all pipelines: by reason, so many, and who could not be seen."""

import pytest

from pipelines.framework.catalog import open_pipeline
from pipelines.operations.quarantined import in_quarantine
from resources.core.lane import Lane
from resources.sources.records import RejectedRecord
from tests.pipelines.operations.conftest import Town


@pytest.mark.parametrize("reason", ["", "it is TOO (long)", "nothing [like] it"])
@pytest.mark.parametrize("limit", [0, 2])
def test_by_reason_and_so_many(town: Town, reason: str, limit: int):
    for name in ("poems", "plays"):
        with open_pipeline(town.add(name)) as o:
            entries = [RejectedRecord(n, "", "It is too (long) by 3", "a text") for n in range(3)]
            entries.append(RejectedRecord("e", "line 4", "it is empty", ""))
            o.registry.quarantine.add(Lane(name, "s"), "run", entries)
    town.add_dead("dead")
    found = in_quarantine(reason=reason, limit=limit)
    matching = {"": 4, "it is TOO (long)": 3}.get(reason, 0)
    counts = {name: found.counts.get(name, 0) for name in ("poems", "plays")}
    assert counts == {"poems": matching, "plays": matching}
    for name in ("poems", "plays"):
        assert len(found.entries.get(name, ())) == min(matching, limit or matching)
    assert list(found.unseen) == ["dead"]
    for name in ("poems", "plays", "dead"):
        (town.folder / "pipelines" / f"{name}.py").unlink()
