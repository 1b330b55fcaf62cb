"""What the segments of a local index have in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from resources.core.errors import SearchIndexError
from resources.core.vectors import Element, Similarity
from resources.search_index.declaration import EXACT_BELOW
from resources.search_index.local.text.tokens import Tokenizer
from resources.search_index.scores import meaning


@dataclass(frozen=True)
class IndexShape:
    """How vectors are held and compared.

    Attributes:
        dimensions: Width of every vector.
        similarity: As in the definition of a MongoDB index.
        filter_paths: Dotted paths that a filter may name.
        exact_below: Up to this many vectors a query compares with each of them.
        max_edges: MongoDB's `hnswOptions.maxEdges`.
        num_edge_candidates: MongoDB's `hnswOptions.numEdgeCandidates`.
        element: Type of the vectors that are added, and of queries.
        tokenizer: By which texts become words; None where there are no texts beside the vectors.

    Raises:
        SearchIndexError: Such vectors cannot be compared so.
    """

    dimensions: int
    similarity: Similarity
    filter_paths: Sequence[str] = ()
    exact_below: int = EXACT_BELOW
    max_edges: int = 16
    num_edge_candidates: int = 100
    element: Element = "float32"
    tokenizer: Tokenizer | None = None

    def __post_init__(self) -> None:
        if self.similarity not in get_args(Similarity):
            allowed = ", ".join(get_args(Similarity))
            raise SearchIndexError(f"unknown similarity {self.similarity!r}; allowed are {allowed}")
        meaning(self.element, self.similarity)  # raises where they do not go together
