"""Pictures of an evaluation's figures: against bytes, over runs, by segment."""

from collections.abc import Mapping, Sequence
from typing import Any

from assets.report.pictures import picture
from resources.evaluation.measures import MEASURES, Interval
from resources.evaluation.pictures.by_segment import Segment, by_segment
from resources.evaluation.pictures.over_runs import over_runs
from resources.evaluation.pictures.quality_against_bytes import Point, quality_against_bytes
from resources.registry.evaluations import Evaluation

FIRST = next(iter(MEASURES))
OVER_RUNS = "quality over runs"
BYTES = "quality against bytes"
SEGMENTS = "quality by segment"
NAMES = (OVER_RUNS, BYTES, SEGMENTS)


def drawn(found: Evaluation, history: Sequence[Evaluation]) -> dict[str, Any]:
    """As metadata; those that there is nothing for are left out.

    Args:
        found: The evaluation.
        history: Of the pipeline, the newest first.
    """
    made: dict[str, Any] = {OVER_RUNS: picture(OVER_RUNS, lambda: runs(history or [found]))}
    points = formats(found)
    if len(points) > 1:
        made[BYTES] = picture(
            BYTES, lambda: quality_against_bytes(points, "overlap@10 with exact float32")
        )
    rows = segments(found)
    if len(rows) > 1:
        overall = found.measures.get(FIRST, {}).get("mean")
        made[SEGMENTS] = picture(SEGMENTS, lambda: by_segment(rows, FIRST, overall))
    return made


def runs(history: Sequence[Evaluation]) -> bytes:
    """Every measure over runs, the oldest first.

    Raises:
        EvaluationError: Matplotlib is not installed.
    """
    ordered = list(reversed(history))
    return over_runs(
        [each.at for each in ordered],
        {name: [_interval(each.measures.get(name)) for each in ordered] for name in MEASURES},
        [each.queries.digest for each in ordered],
    )


def formats(found: Evaluation) -> list[Point]:
    """Formats and dimensions by their bytes, and by how much of the exact answer they keep."""
    details, mine = found.details, found.model.get("stored_as")
    points = [
        Point(row["format"], row["bytes"], _exact(row["recall"]), row["format"] == mine)
        for row in details.get("formats", ())
    ]
    points += [
        Point(f"{row['dimensions']:,} dimensions", row["bytes"], _exact(row["recall"]))
        for row in details.get("dimensions", ())
        if row["dimensions"] != found.model.get("dimensions")
    ]
    return points


def segments(found: Evaluation) -> list[Segment]:
    return [
        Segment(
            f"{row['segment']}: {row['value']}",
            row["queries"],
            _interval({"mean": row[FIRST], "low": row["low"], "high": row["high"]})
            or _exact(row[FIRST]),
        )
        for row in found.details.get("segments", ())
    ]


def _exact(value: float) -> Interval:
    return Interval(value, value, value)


def _interval(values: Mapping[str, float] | None) -> Interval | None:
    return Interval(values["mean"], values["low"], values["high"]) if values else None
