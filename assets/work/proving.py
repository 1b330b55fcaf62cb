"""Search an index for vectors that are stored: it proves itself by finding them."""

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from tenacity import Retrying, retry_if_result, stop_after_attempt, wait_fixed

from assets.work.opened import Opened
from resources.core.errors import BatchStoreError, SearchIndexError
from resources.core.space import EmbeddingSpace
from resources.core.vectors import Similarity
from resources.search_index.engine import IndexReport, MergeReport, SearchEngine
from resources.search_index.mongodb.waiting import SETTLED
from resources.search_index.query import Query
from resources.search_index.scores import score

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


@dataclass(frozen=True)
class Indexed:
    """What the asset `search_index` comes to."""

    report: IndexReport
    name: str
    space: EmbeddingSpace
    similarity: Similarity
    filter_fields: Sequence[str]
    probes: Sequence[Probe]
    merge: MergeReport | None = None


def index(o: Opened) -> Indexed:
    """Bring the index in line with its declaration and the store, and search it.

    Raises:
        SearchIndexError: It cannot be built, or does not serve in time.
        LeaseError: Another run took the pipeline over.
    """
    declared, engine = o.search_index, o.wanted_engine
    report = engine.reconcile(o.log, o.lease)
    if not report.changed:
        o.log("nothing to do: the index is up to date")
    # Search nodes follow a write within a second or so, which no count shows.
    patiently = Retrying(
        retry=retry_if_result(lambda found: not all(p.right for p in found)),
        wait=wait_fixed(declared.poll_seconds),
        stop=stop_after_attempt(SETTLED if report.engine == "mongodb" else 1),
        retry_error_callback=lambda state: state.outcome and state.outcome.result(),
    )
    probes = patiently(probe, o, engine)
    return Indexed(
        report, declared.name, o.space, declared.similarity, declared.filter_fields, probes
    )


def merge(o: Opened, outcome: Indexed) -> Indexed:
    """Make the index fast again while it serves; whatever goes wrong here, it goes on serving."""
    start = time.monotonic()
    try:
        found = o.engine.merge(o.log)
    except (SearchIndexError, BatchStoreError, OSError) as error:
        o.warn(f"the index serves as it is, but could not be merged: {error}; the next run tries")
        found = MergeReport(False, 0, time.monotonic() - start, str(error))
    return replace(outcome, merge=found)


def probe(o: Opened, engine: SearchEngine) -> list[Probe]:
    """Search for some stored vectors; each must find itself, or a twin of equal score."""
    store, similarity = o.store, o.search_index.similarity
    probes, served = [], engine.serve()
    with closing(store.vectors(o.space.id, [], batch_size=PROBES)) as batches:
        some = next(batches, [])
    for row in some:
        hits = served.nearest(row.vector, Query(limit=2))
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
    return probes
