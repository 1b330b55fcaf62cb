"""Answers for programs: BSON values as relaxed Extended JSON."""

import json
from collections.abc import Mapping
from typing import Any

from bson import json_util

from assets.work.searching.answer import SearchAnswer, SearchHit


def answer_as_json(found: SearchAnswer) -> dict[str, Any]:
    return {
        "query": found.query,
        "mode": found.mode,
        "index": found.index,
        "engine": found.engine,
        "space": found.space.id,
        "model": found.space.model,
        "version": jsonable(found.version),
        "score": found.scored_by,
        "seconds": found.seconds,
        "stage": jsonable(dict(found.stage)),
        "why_empty": found.why_empty,
        "notes": list(found.notes),
        "hits": [_hit(hit) for hit in found.hits],
    }


def _hit(hit: SearchHit) -> dict[str, Any]:
    return {
        "id": jsonable(hit.id),
        "source_id": jsonable(hit.source_id),
        "score": hit.score,
        "ranks": dict(hit.ranks),
        "others": hit.others,
        "text": hit.text,
        "context": hit.context,
        "fields": jsonable(dict(hit.fields)),
        "lineage": jsonable(dict(hit.lineage)),
    }


def jsonable(value: Any) -> Any:
    """A BSON value as what `json` writes."""
    wrapped: Mapping[str, Any] = json.loads(
        json_util.dumps({"value": value}, json_options=json_util.RELAXED_JSON_OPTIONS)
    )
    return wrapped["value"]
