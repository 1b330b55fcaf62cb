"""What the asset `candidate_space` came to, as metadata of its materialization."""

from typing import Any

from assets.report.metadata import embedded, indexed, planned, stored
from assets.work.candidate import Candidate
from assets.work.opened import Opened


def none(o: Opened) -> dict[str, Any]:
    """The settings want the space that serves, or will: nothing is built beside it."""
    return {"candidate": "none: the settings want the space that serves", "space": o.main.space.id}


def built(outcome: Candidate) -> dict[str, Any]:
    entry = outcome.entry
    return {
        **planned(outcome.planned),
        **embedded(outcome.embedded),
        **stored(outcome.stored),
        **indexed(outcome.indexed),
        "candidate": entry.space_id,
        "serving meanwhile": outcome.serving,
        "chunks": entry.chunks,
        "vectors stored": entry.vectors,
        "chunks without a vector": entry.missing,
        "complete": not entry.missing,
    }
