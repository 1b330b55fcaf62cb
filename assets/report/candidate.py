"""What the asset `candidate_space` came to, as metadata of its materialization."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.report import tables
from assets.report.metadata import embedded, indexed, planned, stored
from assets.work.alongside import Alongside
from assets.work.candidate import Candidate
from assets.work.changing.flipping import Flipped
from assets.work.gating import Verdict
from resources.core.markdown import literal

NONE = "none: the settings want the space that serves"

_ONCE = ("plan", "space", "seconds", "preview", "dagster/row_count", "quarantine")
"""Said by each of the four assets, and here once for all of them."""


def none(space: str, spaces: Sequence[Alongside]) -> dict[str, Any]:
    """The settings want the space that serves, or will: nothing is built beside it.

    Args:
        space: Id of that one.
        spaces: All that the pipeline has.
    """
    said: dict[str, Any] = {"candidate": NONE, "dagster/row_count": 0, "serving": space}
    others = [each for each in spaces if each.state != "serving"]
    if others:
        said["spaces"] = spaces_table(spaces)
        counted = [each.behind for each in others if each.behind is not None]
        if counted:
            said["most chunks behind"] = max(counted)
    return said


def built(outcome: Candidate) -> dict[str, Any]:
    """What was built beside what, how far it has come, what it took, and what is next."""
    entry, done = outcome.entry, outcome.planned.plan
    parts = {
        "reading": planned(outcome.planned),
        "embedding": embedded(outcome.embedded),
        "storing": stored(outcome.stored),
        "indexing": indexed(outcome.indexed),
    }
    took = {f"seconds {name}": said["seconds"] for name, said in parts.items()}
    return {
        "candidate": entry.space_id,
        "serving meanwhile": outcome.serving,
        "begun": "by an earlier run" if outcome.resumed else "by this run",
        "complete": not entry.missing,
        "dagster/row_count": entry.vectors,
        "chunks": entry.chunks,
        "chunks without a vector": entry.missing,
        **_quarantined(outcome),
        **{name: value for said in parts.values() for name, value in _rest(said).items()},
        "vector bytes": entry.bytes,
        "seconds": round(sum(took.values()), 3),
        **took,
        "plan": done.id,
        "index": outcome.indexed.name,
        "spaces": spaces_table(outcome.spaces),
        **_preview(parts),
        "next": following(done.pipeline, outcome),
    }


def following(pipeline: str, outcome: Candidate) -> str:
    """What to do once it is built, or before it is."""
    entry = outcome.entry
    if entry.missing:
        return f"{entry.missing:,} chunks have no vector there yet: run it again"
    return f"embeddings promote {pipeline} {entry.space_id}"


def gate(verdict: Verdict) -> dict[str, Any]:
    """The gate's table, and what it went by."""
    passed = {True: "yes", False: "no", None: "only shown"}
    rows = [
        {
            "criterion": row.criterion,
            "serving": row.serving,
            "candidate": row.candidate,
            "asked": row.allowed,
            "passed": passed[row.passed],
        }
        for row in verdict.rows
    ]
    said: dict[str, Any] = {"candidate": verdict.space, "serving": verdict.serving}
    if rows:
        said["gate"] = tables.table(rows)
    if verdict.queries:
        said |= {"queries": verdict.queries, "queries made from documents": verdict.known_item}
    said |= {f"evaluation of {name}": each for name, each in verdict.evaluations.items()}
    return said


def flipped(done: Flipped) -> dict[str, Any]:
    """What serves now, why, and how far it is behind."""
    said: dict[str, Any] = {
        "serving": done.now,
        "before": done.before or "nothing",
        "why": literal(done.change.why),
    }
    if done.behind is not None:
        said["behind"] = str(done.behind)
    if done.verdict is not None:
        said |= gate(done.verdict)
    said["serving"] = done.now
    return said


def spaces_table(spaces: Sequence[Alongside]) -> dg.TableMetadataValue:
    """The spaces of a pipeline beside one another, the serving one first."""
    return tables.table(
        [
            {
                "state": each.state,
                "space": each.entry.space_id,
                "vectors": each.entry.vectors,
                "bytes": each.entry.bytes,
                "chunks without a vector": each.entry.missing,
                "behind": each.why if each.behind is None else each.behind,
                "last complete": moment(each.entry),
                "path": each.path,
                "index": each.index,
            }
            for each in spaces
        ]
    )


def moment(entry: Any) -> str:
    """When a space was complete last, in UTC."""
    when = entry.complete_at or entry.built
    return f"{when:%Y-%m-%d %H:%M}" if when else "never"


def _rest(said: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in _ONCE}


def _quarantined(outcome: Candidate) -> dict[str, Any]:
    reasons = outcome.stored.quarantined
    if not reasons:
        return {"in quarantine": 0}
    ordered = sorted(reasons.items(), key=lambda each: (-each[1], each[0]))
    rows = [{"reason": reason, "chunks": count} for reason, count in ordered]
    said: dict[str, Any] = {"quarantined by reason": tables.table(rows)}
    if outcome.planned.quarantined:
        said["quarantine"] = tables.quarantine(outcome.planned.quarantined)
    return said


def _preview(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Some vectors; where none was made now, some of the texts."""
    for name in ("embedding", "reading"):
        if "preview" in parts[name]:
            return {"preview": parts[name]["preview"]}
    return {}
