"""What a search comes back with, made of what was found."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from assets.work.searching.answer import SearchAnswer, SearchHit
from assets.work.searching.finding import Finding
from assets.work.searching.passages import contexts
from assets.work.searching.request import Request
from assets.work.searching.serving import Serving
from resources.core.keys import key
from resources.sources.fields import MISSING, lookup
from resources.vector_store.store import SOURCE_FIELD


def answers_of(
    serving: Serving,
    request: Request,
    findings: Sequence[Finding],
    notes: Sequence[str],
    start: float,
) -> list[SearchAnswer]:
    present = serving.documents([best.hit for found in findings for best in found.best])
    around = contexts(serving.store, present, request.expand) if request.expand else {}
    answers, notes = [], [*notes, *serving.notes()]
    for found in findings:
        hits = [
            _hit(serving, best.hit, present[key(best.hit.id)], best.others, around)
            for best in found.best
            if key(best.hit.id) in present
        ]
        answers.append(
            SearchAnswer(
                found.asked.shown,
                hits,
                serving.space,
                serving.index.entry.engine,
                serving.key,
                0.0,
                found.scored_by,
                found.stage(),
                "" if hits else found.why_empty(),
                request.mode,
                serving.index.entry.version,
                [*found.notes, *notes],
            )
        )
    seconds = time.monotonic() - start
    return [dataclasses.replace(answer, seconds=seconds) for answer in answers]


def _hit(
    serving: Serving,
    hit: Any,
    document: Mapping[str, Any],
    others: int,
    around: Mapping[str, str],
) -> SearchHit:
    values = {name: lookup(document, at) for name, at in serving.shown.items()}
    lineage = serving.store.lineage(document) or {}
    if lineage.get("space") != serving.space.id:
        # Replaced since the index was built: of the vector that was compared only this is known.
        lineage = {"space": serving.space.id}
    return SearchHit(
        hit.id,
        hit.score,
        serving.store.text(document),
        {name: value for name, value in values.items() if value is not MISSING},
        lineage,
        document.get(SOURCE_FIELD, hit.id),
        hit.ranks,
        others,
        around.get(key(hit.id)),
    )
