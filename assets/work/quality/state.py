"""What figures go by: the same again need not be measured again."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from assets.work.opened import Opened
from assets.work.searching.rankings import CANDIDATES, DEPTH
from assets.work.searching.serving import Serving
from resources.evaluation.judged import JudgedQuery, digest_of

MEASURED_AS = 1
"""Another number where the same searches would give other figures."""
FIRST_IDS = 100
"""Of relevant documents, whose type is looked at."""


@dataclass(frozen=True)
class Contents:
    """What a query set holds.

    Attributes:
        digest: As `resources.evaluation.judged.digest`.
        queries: How many.
        answerable: Of how many something is relevant.
        first_ids: Of relevant documents.
    """

    digest: str
    queries: int
    answerable: int
    first_ids: list[Any]

    @classmethod
    def of(cls, queries: Iterable[JudgedQuery]) -> "Contents":
        """Read once through; nothing is kept but the first ids."""
        total, count, answerable, ids = 0, 0, 0, []
        for query in queries:
            total, count = total + query.digest(), count + 1
            answerable += query.answerable
            if len(ids) < FIRST_IDS:
                ids += [each.id for each in query.judgements if each.grade > 0]
        return cls(digest_of(total), count, answerable, ids[:FIRST_IDS])


def state(o: Opened, serving: Serving, digest: str) -> dict[str, Any]:
    """All that figures of this query set go by."""
    entry, settings = serving.index.entry, o.evaluation
    store = o.registry.stores.get(o.store.key)
    reranked, text = settings.rerank and o.reranker.chosen, o.search_index.text
    definition = json.dumps(
        [entry.definition, entry.text_definition, entry.fingerprint], sort_keys=True, default=str
    )
    return {
        "measured_as": MEASURED_AS,
        "queries": digest,
        "space": serving.space.id,
        "asked_with": o.embedder.query_settings(),
        "mode": settings.mode,
        "reranker": f"{o.reranker.facts()} {o.reranker.reading()}" if reranked else None,
        "fusion": text.fusion if text and settings.mode == "hybrid" else None,
        "depth": DEPTH,
        "candidates": CANDIDATES,
        "segments": list(settings.segments),
        "engine": entry.engine,
        "index": str(entry.version),
        "definition": hashlib.sha256(definition.encode()).hexdigest()[:16],
        "store": store.revision if store else None,
    }


def state_name(found: dict[str, Any]) -> str:
    """A short name of a state, the same for the same."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
