"""Search an index for vectors that are stored: it proves itself by finding them."""

from dataclasses import dataclass

from resources.core.vectors import Similarity
from resources.search_index.engine import SearchEngine
from resources.search_index.query import Query
from resources.search_index.scores import score
from resources.vector_store.store import VectorStore

PROBES = 10
SAME_SCORE = 1e-4
"""Two documents with the same text have one score, up to the rounding of either engine."""


@dataclass(frozen=True)
class Probe:
    """A stored vector searched for: does the index find it?"""

    id: str
    found: str
    score: float
    right: bool


def probe(
    engine: SearchEngine, store: VectorStore, space_id: str, similarity: Similarity
) -> list[Probe]:
    """Search for some stored vectors; each must find itself, or a twin of equal score."""
    probes = []
    for rows in store.vectors(space_id, [], batch_size=PROBES):
        for row in rows:
            hits = engine.search(row.vector, Query(limit=2))
            best = hits[0] if hits else None
            own = float(score(store.element, similarity, row.vector[None], row.vector)[0])
            twin = best is not None and best.score > own - SAME_SCORE
            right = twin or any(hit.id == row.id for hit in hits)
            probes.append(
                Probe(
                    str(row.id),
                    str(best.id) if best else "nothing",
                    best.score if best else 0.0,
                    right,
                )
            )
        break
    return probes
