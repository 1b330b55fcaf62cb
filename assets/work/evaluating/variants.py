"""What a candidate is measured as: each width, format and mode that its vectors allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import (
    Similarity,
    VectorFormat,
    element_of,
)
from resources.models import catalogue
from resources.search_index.query import Mode

FORMATS: tuple[str, ...] = (
    "float32", "array", "int8", "packed_bit", "packed_bit+int8", "packed_bit+float32",
)  # fmt: skip
"""Names of formats; behind the plus stands the finer field by which candidates are ranked anew."""

_FINENESS = ("packed_bit", "int8", "float32")


@dataclass(frozen=True)
class Variant:
    """One way to store and ask the vectors of a candidate.

    Attributes:
        dimensions: 0 where only words count.
        format: None likewise; its scale is of this width.
        similarity: By which the vectors are compared.
        mode: By vector, by text, or by both.
        reranked: Whether the candidate's reranker reads what was found.
    """

    dimensions: int
    format: VectorFormat | None
    similarity: Similarity
    mode: Mode
    reranked: bool = False

    @property
    def stored_as(self) -> str:
        return short(self.format) if self.format else ""

    @property
    def bytes_per_vector(self) -> int:
        """In its document, a finer field included."""
        return self.format.bytes_each(self.dimensions) if self.format else 0


def short(stored: VectorFormat) -> str:
    """`packed_bit+int8`, as `FORMATS` has it."""
    return f"{stored.dtype}+{stored.rescore}" if stored.rescore else stored.dtype


def parse_format(space: EmbeddingSpace, name: str) -> VectorFormat | None:
    """The format of that name; None where the space's vectors are coarser than it."""
    dtype, _, rescore = name.partition("+")
    found = VectorFormat(space.element, cast(Any, dtype), cast(Any, rescore or None))
    finest = rescore or element_of(found.dtype)
    if _FINENESS.index(finest) > _FINENESS.index(space.element):
        return None
    return found


def compared_by(stored: VectorFormat, similarity: Similarity) -> Similarity:
    """Bits are compared by those that differ, whatever is declared for other vectors."""
    return "euclidean" if stored.dtype == "packed_bit" else similarity


def cuttable(space: EmbeddingSpace, model: str, dimensions: int) -> str:
    """Why a vector of the space cannot be cut to so many dimensions; empty where it can."""
    if space.element != "float32":
        return f"{model} returns {space.element} vectors here, which cannot be cut"
    if dimensions >= space.dimensions:
        return f"{model} has {space.dimensions} dimensions here"
    if dict(space.options).get("layer_norm") or "nomic-embed-text-v1.5" in model:
        return f"{model} is cut by its provider alone: give `dimensions` in a candidate's file"
    entry = catalogue.find(space.provider, model)
    if entry and (entry.shrinkable or dimensions in entry.dimensions):
        return ""
    return (
        f"the catalogue does not say that {model} can be cut to {dimensions} dimensions: add it "
        f"to one of your own, see {catalogue.VARIABLE}"
    )


def cut(vectors: np.ndarray, space: EmbeddingSpace, dimensions: int) -> np.ndarray:
    """The leading dimensions, of unit length again where the space's vectors are."""
    if dimensions >= space.dimensions:
        return vectors
    leading = vectors[..., :dimensions]
    if not space.normalized:
        return np.ascontiguousarray(leading)
    lengths = np.linalg.norm(leading.astype(np.float64), axis=-1, keepdims=True)
    return (leading / np.where(lengths, lengths, 1)).astype(np.float32)


def check_formats(names: Sequence[str]) -> None:
    """Refuse a format that there is not.

    Raises:
        ConfigurationError: There is none of that name.
    """
    for name in names:
        if name not in FORMATS:
            raise ConfigurationError(
                f"there is no format {name!r}: choose among {', '.join(FORMATS)}"
            )
