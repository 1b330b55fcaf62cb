"""Single records of a source, found by their ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pymongo

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
    seen, ended = 0, True
    for record in source.read(client, list(ids) if by_id else None):
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
