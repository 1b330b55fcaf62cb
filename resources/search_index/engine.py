"""What both search engines offer: bring the index in line, answer a query."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.search_index.local import Hit


@dataclass(frozen=True)
class IndexReport:
    """What `reconcile` found and did.

    Attributes:
        engine: Which engine serves the index.
        changed: Whether anything was built or updated.
        stored: Vectors of the index's space in the store.
        indexed: Vectors that the index really serves.
        seconds: How long it took.
        details: Engine's own facts for the asset's metadata.
    """

    engine: str
    changed: bool
    stored: int
    indexed: int
    seconds: float
    details: Mapping[str, Any]


class SearchEngine(ABC):
    name: str

    @abstractmethod
    def reconcile(self, log: Callable[[str], None]) -> IndexReport:
        """Make the index match its declaration and the stored vectors, and wait until it serves.

        Raises:
            SearchIndexError: It cannot be built.
        """

    @abstractmethod
    def count(self) -> int:
        """Vectors that the index serves.

        Raises:
            SearchIndexError: There is no such index.
        """

    @abstractmethod
    def search(
        self,
        vector: np.ndarray,
        *,
        limit: int,
        filter: Mapping[str, Any] | None = None,  # noqa: A002  (MongoDB's own word)
        exact: bool = False,
        num_candidates: int | None = None,
    ) -> list[Hit]:
        """The nearest vectors, best first.

        Args:
            vector: float32, shape (dimensions,), in the index's space.
            limit: At most this many.
            filter: MQL over the index's filter fields.
            exact: Compare with every vector instead of walking the graph.
            num_candidates: How many candidates an approximate search considers.

        Raises:
            QueryRefused: The index would answer wrongly or not at all.
            SearchIndexError: The index is missing or damaged.
        """
