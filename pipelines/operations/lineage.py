"""Which model made which vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.work.opened import Opened
from pipelines.framework.catalog import open_pipeline
from pipelines.framework.pipeline import EmbeddingPipeline
from resources.core.errors import EmbeddingsError, QueryRefused
from resources.core.keys import candidates, exactly
from resources.core.space import EmbeddingSpace


@dataclass(frozen=True)
class ModelSummary:
    """Vectors of one model in one space."""

    space: str
    model: str
    vectors: int
    first: Any
    last: Any
    meaning: EmbeddingSpace | None


@dataclass(frozen=True)
class VectorLineage:
    """Everything known about how one vector came to be.

    Attributes:
        id: `_id` of the document.
        lineage: As stored with the vector.
        meaning: What its space id stands for; None if the registry has lost it.
        details: Of its batch: provider versions, tokens; None where the file is gone.
    """

    id: Any
    lineage: Mapping[str, Any]
    meaning: EmbeddingSpace | None
    details: Mapping[str, Any] | None


def summary(
    pipeline: EmbeddingPipeline | str, overrides: Sequence[str | Path] = ()
) -> list[ModelSummary]:
    """How many vectors each model made."""
    with open_pipeline(pipeline, overrides) as opened:
        return [
            ModelSummary(
                row["space"],
                row.get("model") or "unknown",
                row["vectors"],
                row["first"],
                row["last"],
                opened.registry.spaces.get(row["space"]),
            )
            for row in opened.store.count_by_model()
        ]


def of_vector(
    pipeline: EmbeddingPipeline | str, document_id: str, overrides: Sequence[str | Path] = ()
) -> VectorLineage:
    """Lineage of one vector.

    Args:
        pipeline: Itself or its name.
        document_id: As text, or Extended JSON where that is ambiguous: see `keys.candidates`.
        overrides: YAML run configs merged on top of the pipeline's own.

    Raises:
        QueryRefused: There is no such document, or several, or it has no vector.
    """
    with open_pipeline(pipeline, overrides) as opened:
        documents = opened.store.documents(candidates(document_id))
        if not documents:
            raise QueryRefused(f"there is no document {document_id!r} in {opened.store.key}")
        if len(documents) > 1:
            raise QueryRefused(
                f"{document_id!r} may be several documents of {opened.store.key}: say which, as "
                f"{' or '.join(exactly(found['_id']) for found in documents.values())}"
            )
        (document,) = documents.values()
        lineage = opened.store.lineage(document)
        if lineage is None:
            raise QueryRefused(
                f"document {document_id!r} of {opened.store.key} has no vector of this project"
            )
        space = opened.registry.spaces.get(lineage["space"])
        return VectorLineage(document["_id"], lineage, space, _details(opened, lineage))


def _details(opened: Opened, lineage: Mapping[str, Any]) -> Mapping[str, Any] | None:
    try:
        return opened.batches.read_batch(lineage["space"], lineage["batch"]).details
    except EmbeddingsError:
        return None  # batches may be removed once their vectors are stored
