"""Single records of a source, found by their ids."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pymongo
from bson import json_util

from resources.core.keys import key
from resources.sources.collection import CollectionOrigin
from resources.sources.records import RejectedRecord, SourceDocument
from resources.sources.resource import SourceResource

STREAMED = 100_000
"""Records of a source that is looked through from its beginning, at most."""


@dataclass(frozen=True)
class LookedUp:
    """What a source has under some ids.

    Attributes:
        found: By key; a record that cannot be embedded says why.
        whole: What was not found is not there; else it was not looked for to the end.
        seen: Records looked through.
    """

    found: Mapping[str, SourceDocument | RejectedRecord]
    whole: bool
    seen: int


def look_up(
    source: SourceResource,
    client: pymongo.MongoClient | None,
    ids: Sequence[Any],
    *,
    streamed: int = STREAMED,
) -> LookedUp:
    """Find records: a collection's by their ids, others by looking through them.

    Args:
        source: Where.
        client: Where the source is a collection.
        ids: Of records, as the source has them.
        streamed: See `STREAMED`.

    Raises:
        SourceError: The source cannot be read.
    """
    wanted = {key(each) for each in ids}
    found: dict[str, SourceDocument | RejectedRecord] = {}
    origin, limit = source.origin, source.limit
    by_id = isinstance(origin, CollectionOrigin)
    if isinstance(origin, CollectionOrigin):
        named = {source.id_field: {"$in": json.loads(json_util.dumps(list(ids), json_options=_ID))}}
        parts = [origin.filter, named] if origin.filter else [named]
        origin = origin.model_copy(update={"filter": {"$and": parts}})
        source = source.model_copy(update={"origin": origin, "limit": None})
    seen, ended = 0, True
    for record in source.read(client):
        if not by_id and seen == streamed:
            ended = False
            break
        seen += 1
        if record.id is not None and key(record.id) in wanted:
            found.setdefault(key(record.id), record)
            if len(found) == len(wanted):
                break
    whole = ended and (by_id or limit is None or seen < limit)
    return LookedUp(found, whole, seen)


_ID = json_util.JSONOptions(json_mode=json_util.JSONMode.CANONICAL)
