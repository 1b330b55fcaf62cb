"""What a search found for a judged query, as measures take it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from resources.core.keys import key

DEPTH = 100
"""So many source documents of each answer are looked at, for recall@100."""


@dataclass(frozen=True)
class Ranking:
    """Source documents, best first, each once.

    Attributes:
        query: Id of the judged query.
        ids: Of the documents, as the source has them.
        scores: Of the best chunk of each.
    """

    query: str
    ids: Sequence[Any]
    scores: Sequence[float]

    @classmethod
    def of(cls, query: str, found: Sequence[tuple[Any, float]], depth: int = DEPTH) -> "Ranking":
        """Of hits in any order: chunks count for their document, ties go by id.

        Args:
            query: Id of the judged query.
            found: The source document's id and the score of each hit.
            depth: At most so many documents.
        """
        best: dict[str, tuple[float, Any]] = {}
        for source, score in found:
            name = key(source)
            if name not in best or score > best[name][0]:
                best[name] = (score, source)
        ordered = sorted(best.items(), key=lambda each: (-each[1][0], each[0]))[:depth]
        return cls(query, [each[1][1] for each in ordered], [each[1][0] for each in ordered])

    @property
    def keys(self) -> list[str]:
        return [key(each) for each in self.ids]
