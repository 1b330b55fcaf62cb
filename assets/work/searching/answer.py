"""What a search comes back with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.core.space import EmbeddingSpace
from resources.search_index.query import Mode


@dataclass(frozen=True)
class SearchHit:
    """One answer.

    Attributes:
        id: `_id` of the document that holds the vector.
        score: Of vectors MongoDB's vectorSearchScore, 0 to 1; else as `SearchAnswer.scored_by`.
        text: What was embedded; of a document that holds its vector in place, what would be now.
        fields: The fields the pipeline carries or filters by.
        lineage: Which model, space, batch and run made the vector.
        source_id: Id of the source document; the same as `id` where it is one chunk.
        ranks: Its place in each list that was fused or ranked anew, from 1.
        others: How many other chunks of the same source document were found, where
            `group_by_source` leaves only the best.
        context: The text around, where `expand` asks for it; a piece of the source document.
    """

    id: Any
    score: float
    text: str | None
    fields: Mapping[str, Any]
    lineage: Mapping[str, Any]
    source_id: Any = None
    ranks: Mapping[str, int] = field(default_factory=dict)
    others: int = 0
    context: str | None = None


@dataclass(frozen=True)
class SearchAnswer:
    """What a search found.

    Attributes:
        query: As asked; of a vector its beginning.
        hits: Best first.
        space: The embedding space of query and vectors.
        engine: `mongodb` or `local`.
        index: `database.collection:path:index`.
        seconds: From the question to the answer, embedding the query included; of several that were
            asked together, all of them.
        scored_by: What a score stands for.
        stage: The stages that were sent, or what the local engine did in their place.
        why_empty: The cause of an answer without hits, where there is one to name.
        mode: By vector, by text, or by both.
        version: Of the index that answered.
        notes: What a person should know about this answer, as sentences.
    """

    query: str
    hits: list[SearchHit]
    space: EmbeddingSpace
    engine: str
    index: str
    seconds: float
    scored_by: str
    stage: Mapping[str, Any]
    why_empty: str = ""
    mode: Mode = "vector"
    version: Any = None
    notes: Sequence[str] = ()
