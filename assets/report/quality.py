"""What the asset `search_quality` came to, as metadata: figures, tables, pictures.

Figures have the names of their measures and are floats, so that Dagster plots them over time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from assets.report import landscape, plots, tables
from assets.work.opened import Opened
from assets.work.quality import Measured
from resources.core.progress import doing
from resources.evaluation.pictures.over_runs import RUNS
from resources.registry.evaluations import Evaluation

PICTURES = frozenset({*plots.NAMES, *landscape.NAMES})
"""All that `pictures` may give."""


def not_measured() -> dict[str, Any]:
    return {"measured": "no: this run's `evaluation` has no queries"}


def measured(
    outcome: Measured, o: Opened, shown: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """All that is said of an evaluation.

    Args:
        outcome: The evaluation.
        o: The pipeline.
        shown: Its pictures, where they were drawn before.
    """
    found = shown or pictures(outcome, o)
    return {**figures(outcome), **found, **of_tables(outcome.evaluation)}


def pictures(outcome: Measured, o: Opened) -> dict[str, Any]:
    """Drawn from an evaluation, those before it, and what it found."""
    found = outcome.evaluation
    with doing("drawing pictures", patient=True):
        runs = o.registry.evaluations.history(o.name, RUNS)
        return {**plots.drawn(found, runs), **landscape.space(o, found.id)}


def figures(outcome: Measured) -> dict[str, Any]:
    found, details = outcome.evaluation, outcome.evaluation.details
    queries = found.queries
    said: dict[str, Any] = {
        "measured": "as before: nothing has changed" if outcome.reused else "yes",
        "evaluation": found.id,
        "queries": queries.answerable,
        "queries without answer": queries.unanswerable,
        "query set": tables.cell(queries.description),
        "query set digest": queries.digest,
        "mode": found.mode,
        "reranked by": tables.cell(found.reranked or "nothing"),
        "model": found.model["model"],
        "space": found.space,
        "stored as": found.model["stored_as"],
        "relevant documents not in the store": queries.not_in_store,
        "relevant documents in quarantine": queries.in_quarantine,
    }
    for name, each in found.measures.items():
        said |= {name: each["mean"], f"{name} low": each["low"], f"{name} high": each["high"]}
    if found.measures_of_stored != found.measures:
        for name, each in found.measures_of_stored.items():
            said[f"{name} of what is stored"] = each["mean"]
    if outcome.baseline is not None:
        said["compared with"] = f"{outcome.baseline.id} (run {outcome.baseline.run})"
        for name, each in outcome.baseline.measures.items():
            if name in found.measures:
                said[f"{name} change"] = found.measures[name]["mean"] - each["mean"]
    numbers = {
        "overlap@10 with exact": details.get("overlap@10 with exact"),
        "best score, answerable": details.get("best score, answerable"),
        "best score, without answer": details.get("best score, without answer"),
    }
    said |= {name: float(value) for name, value in numbers.items() if value is not None}
    for name, seconds in found.latency.items():
        said[f"latency {name.replace('_', ' ')} (ms)"] = round(1000 * seconds, 3)
    sizes = {
        "bytes per vector": "per_vector",
        "vector bytes": "stored",
        "index bytes": "index",
    }
    said |= {label: found.bytes[name] for label, name in sizes.items() if name in found.bytes}
    said["seconds"] = round(outcome.seconds, 3)
    return said


def of_tables(found: Evaluation) -> dict[str, Any]:
    details = found.details
    made: dict[str, Any] = {}
    if details.get("segments"):
        made["by segment"] = dg.MetadataValue.table(
            [dg.TableRecord(_segment(row)) for row in details["segments"]]
        )
    if details.get("formats"):
        mine = found.model["stored_as"]
        made["formats"] = tables.table([_format(row, mine) for row in details["formats"]])
    if details.get("dimensions"):
        made["dimensions"] = tables.table([_width(row) for row in details["dimensions"]])
    if details.get("worse"):
        made["queries that got worse"] = tables.table(list(map(_worse, details["worse"])))
    if details.get("absent"):
        made["relevant documents that are not there"] = tables.table(details["absent"])
    if details.get("notes"):
        made["notes"] = tables.table([{"note": note} for note in details["notes"]])
    return made


def _segment(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: round(value, 4) if isinstance(value, float) else tables.cell(value, tables.TEXT)
        for name, value in row.items()
    }


def _format(row: Mapping[str, Any], mine: str) -> dict[str, Any]:
    return {
        "stored as": row["format"],
        "bytes per vector": row["bytes"],
        "in the index": row["indexed_bytes"],
        "overlap@10": round(row["recall"], 4),
        "chosen": "yes" if row["format"] == mine else "",
    }


def _width(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "dimensions": row["dimensions"],
        "bytes per vector": row["bytes"],
        "overlap@10": round(row["recall"], 4),
    }


def _worse(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "query": tables.cell(row["query"], tables.TEXT),
        "text": tables.cell(row["text"], tables.TEXT),
        "before": round(row["before"], 4),
        "now": round(row["now"], 4),
        "found before": _hits(row["found before"]),
        "finds now": _hits(row["finds now"]),
    }


def _hits(found: Sequence[Mapping[str, Any]]) -> str:
    """Ids, those that are right marked, each with the beginning of its text."""
    said = []
    for each in found:
        mark = "✓ " if each["relevant"] else ""
        text = tables.cell(each["text"], 30)
        said.append(f"{mark}{tables.cell(each['id'], 30)}" + (f": {text}" if text else ""))
    return "; ".join(said)
