"""What both search engines offer: bring the index in line, serve it, answer a query."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resources.core.errors import QueryRefused
from resources.mongodb.lease import Lease
from resources.registry.indexes import IndexEntry
from resources.search_index import fusion
from resources.search_index.filters.evaluation import validate
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
        merge_due: `merge` would make the index faster, and can be done while it serves.
    """

    engine: str
    changed: bool
    stored: int
    indexed: int
    seconds: float
    details: Mapping[str, Any]
    merge_due: bool = False


@dataclass(frozen=True)
class MergeReport:
    """What `merge` came to.

    Attributes:
        published: Whether the merged version serves.
        vectors: In the segment that was built.
        seconds: How long it took.
        why: It does not serve, or there was nothing to merge; empty where it serves.
    """

    published: bool
    vectors: int
    seconds: float
    why: str = ""


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

    def merge(self, log: Callable[[str], None]) -> MergeReport | None:
        """Make an index that follows small changes fast again; needs no lease, may be killed.

        Returns:
            None where there is nothing to do, or the engine sees to it by itself.

        Raises:
            SearchIndexError: The index cannot be read or written; it serves as before.
        """
        return None

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
    def glance(self, stored: int | None) -> Coverage:
        """Compare the index with what is stored, at a cost that does not grow with either.

        It goes by what is written down of the index and its files, or by what the server lists;
        whether every vector is as it should be, only `coverage` tells.

        Args:
            stored: Vectors of the index's space, where they have been counted; None goes by what
                the registry says.

        Raises:
            SearchIndexError: There is no such index.
        """

    @abstractmethod
    def drop(self) -> None:
        """Remove the index with all that belongs to it; it may be gone already.

        Raises:
            SearchIndexError: The server refuses.
        """

    @abstractmethod
    def serve(self) -> "ServedIndex":
        """The index as it is now.

        Raises:
            SearchIndexError: It is missing or damaged.
        """


class ServedIndex(ABC):
    """One state of an index, which answers queries; any number of threads may ask it.

    Attributes:
        entry: What the registry says of it.
    """

    def __init__(self, entry: IndexEntry) -> None:
        self.entry = entry

    @property
    @abstractmethod
    def filter_fields(self) -> Sequence[str]:
        """By which searches may filter."""

    @property
    def bytes(self) -> int | None:
        """Of the files that it is served from; None where only the server knows."""
        return None

    def check(self, query: Query) -> None:
        """Refuse what cannot be answered; to be asked before anything is embedded.

        Raises:
            QueryRefused: A filter by another field, a mode whose index is not there.
        """
        if query.filter is not None:
            validate(query.filter, self.filter_fields)
        why = self.why_no_text() if query.mode != "vector" else ""
        if why:
            raise QueryRefused(f"`mode: {query.mode}` cannot be had: {why}")

    @abstractmethod
    def nearest(self, vector: np.ndarray, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        """By vector, the nearest first.

        Args:
            vector: One vector in the index's space, and of its field's element type: float32 or
                int8 of shape (dimensions,), or packed bits, uint8 of shape (dimensions / 8,).
            query: How to search.
            fields: Of the documents, to come along where that costs no trip of its own.

        Raises:
            QueryRefused: The index would answer wrongly or not at all.
            SearchIndexError: The index is missing or damaged.
        """

    @abstractmethod
    def why_no_text(self) -> str:
        """Why the index cannot be asked by words, and the way out; empty where it can."""

    @abstractmethod
    def matching(self, text: str, query: Query, fields: Sequence[str] = ()) -> list[Hit]:
        """By the words of a text, any of them, the best first; scores are BM25's.

        Raises:
            QueryRefused: As `nearest`; `why_no_text` gives a reason.
        """

    def fused(
        self, text: str, vector: np.ndarray, query: Query, fields: Sequence[str] = ()
    ) -> list[Hit]:
        """By both, fused by the places in each list of candidates."""
        lists = {
            "vector": self.nearest(vector, query.widened(), fields),
            "text": self.matching(text, query.widened(), fields),
        }
        return fusion.by_rank(lists, query)

    def fused_by(self, text: str, query: Query) -> str:
        """What the scores of `fused` stand for."""
        return fusion.meaning(query)

    @abstractmethod
    def explain(self, vector: np.ndarray | None, text: str, query: Query) -> Mapping[str, Any]:
        """What a search would do: the stages it sends, or their local equivalent."""

    @abstractmethod
    def why_empty(self, query: Query) -> str:
        """Why a search found nothing, as one sentence; empty where there is no cause to name."""
