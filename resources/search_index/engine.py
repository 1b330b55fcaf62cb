"""What both search engines offer: bring the index in line, answer a query."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.mongodb.lease import Lease
from resources.search_index.query import Hit, Query


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


@dataclass(frozen=True)
class Coverage:
    """How many of the stored vectors an index serves.

    Attributes:
        stored: Vectors of the index's space in the store.
        indexed: Those of them that searches can find.
        why: The cause of a difference, as one sentence; empty where there is none.
    """

    stored: int
    indexed: int
    why: str


class SearchEngine(ABC):
    name: str

    @abstractmethod
    def reconcile(self, log: Callable[[str], None], lease: Lease | None = None) -> IndexReport:
        """Make the index match its declaration and the stored vectors, and wait until it serves.

        Args:
            log: Takes lines of progress.
            lease: Asked before every step that costs or shows; what it fences is not replaced.

        Raises:
            SearchIndexError: It cannot be built.
            LeaseError: Another run has taken the pipeline over; what that has made stays.
        """

    @abstractmethod
    def coverage(self, *, thorough: bool = True) -> Coverage:
        """Compare the index with what is stored.

        Args:
            thorough: Let the server look at every vector, also where a look since the last change
                found nothing that an index leaves out.

        Raises:
            SearchIndexError: There is no such index.
        """

    @abstractmethod
    def search(self, vector: np.ndarray, query: Query) -> list[Hit]:
        """The nearest vectors, best first.

        Args:
            vector: One vector in the index's space, and of its field's element type: float32 or
                int8 of shape (dimensions,), or packed bits, uint8 of shape (dimensions / 8,).
            query: How to search.

        Raises:
            QueryRefused: The index would answer wrongly or not at all.
            SearchIndexError: The index is missing or damaged.
        """

    @abstractmethod
    def explain(self, vector: np.ndarray, query: Query) -> Mapping[str, Any]:
        """What `search` would do: the `$vectorSearch` stage it sends, or its local equivalent."""

    @abstractmethod
    def why_empty(self, query: Query) -> str:
        """Why a search found nothing, as one sentence; empty where there is no cause to name."""
