"""How many vectors there are, by the space, model, run and format they were made in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from assets.work.opened import Opened
from pipelines.framework.catalog import missing_variables, open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from pipelines.operations.lineage.places import Places
from pipelines.operations.lineage.told import Known
from resources.core.lineage import lineage_path
from resources.core.space import EmbeddingSpace
from resources.core.vectors import VectorFormat

By = Literal["space", "run", "month"]
BYS: tuple[By, ...] = ("space", "run", "month")


@dataclass(frozen=True)
class Summed:
    """Vectors of one pipeline's space that one model made, stored in one format.

    Attributes:
        pipeline: Whose they are.
        state: Of the space.
        path: Where they lie.
        stored_as: Their format, as the lineage names it.
        vectors: How many.
        bytes: Of them, without an index; None where the registry has lost what the space is.
        cut: How many know only the beginning of their text.
        first: When the earliest was made; `last` the latest.
        meaning: What the space id stands for.
        run: That made them, where runs are told apart.
        month: In which they were made, `2026-11`, where that is told apart.
    """

    space: str
    pipeline: str
    state: Known
    path: str
    model: str
    stored_as: str
    vectors: int
    bytes: int | None
    cut: int
    first: datetime | None
    last: datetime | None
    meaning: EmbeddingSpace | None
    run: str | None = None
    month: str | None = None


def summary(
    pipeline: EmbeddingPipeline | str,
    overrides: Sequence[str | Path] = (),
    *,
    by: By = "space",
) -> list[Summed]:
    """How many vectors each model made, in every space of the pipeline; the serving one first.

    Vectors of other pipelines at the same paths are counted apart.

    Args:
        pipeline: Itself or its name.
        overrides: YAML run configs merged on top of the pipeline's own.
        by: Told apart besides: by run, or by month.
    """
    missing = [
        name for name, key in missing_variables(pipeline, overrides).items() if key == "embedder"
    ]
    with open_pipeline(pipeline, overrides, without=missing) as opened:
        return list(_summed(opened, by))


def _summed(opened: Opened, by: By) -> Iterator[Summed]:
    places, spaces = Places(opened), opened.registry.spaces
    own = {each.path(opened.base_key.path) for each in opened.record.entries()}
    for path in places.paths:
        if path != opened.base_key.path and path not in own:
            continue  # another pipeline's
        for row in places.collection.aggregate(_stages(path, by)):
            key: dict[str, Any] = row["_id"]
            meaning = spaces.get(key["space"])
            pipeline = key.get("pipeline") or opened.name
            stored_as = key.get("stored_as") or "float32"
            yield Summed(
                key["space"],
                pipeline,
                places.state(pipeline, path, key["space"]),
                path,
                key.get("model") or "unknown",
                stored_as,
                row["vectors"],
                _bytes(meaning, stored_as, row["vectors"]),
                row["cut"],
                row["first"],
                row["last"],
                meaning,
                key.get("run") if by == "run" else None,
                key.get("month") if by == "month" else None,
            )


def _stages(path: str, by: By) -> list[dict[str, Any]]:
    lineage = lineage_path(path)
    names = ["space", "pipeline", "model", "stored_as", *(["run"] if by == "run" else [])]
    group: dict[str, Any] = {name: f"${lineage}.{name}" for name in names}
    if by == "month":
        group["month"] = {"$dateToString": {"format": "%Y-%m", "date": f"${lineage}.at"}}
    return [
        {"$match": {f"{lineage}.space": {"$exists": True}}},
        {
            "$group": {
                "_id": group,
                "vectors": {"$sum": 1},
                "cut": {"$sum": {"$cond": [{"$eq": [f"${lineage}.cut", True]}, 1, 0]}},
                "first": {"$min": f"${lineage}.at"},
                "last": {"$max": f"${lineage}.at"},
            }
        },
        {"$sort": {"vectors": -1, "last": -1, "_id": 1}},
    ]


def _bytes(meaning: EmbeddingSpace | None, stored_as: str, vectors: int) -> int | None:
    if meaning is None:
        return None
    try:
        return vectors * VectorFormat.parse(meaning.element, stored_as).bytes_each(
            meaning.dimensions
        )
    except ValueError:  # a format of another version
        return None
