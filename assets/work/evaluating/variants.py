"""What a candidate is measured as: each width, format and mode that its vectors allow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from resources.core.errors import ConfigurationError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import (
    Similarity,
    VectorFormat,
    element_of,
)
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
