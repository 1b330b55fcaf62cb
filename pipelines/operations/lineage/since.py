"""Whether the texts of vectors have changed in the source since they were embedded."""

from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.errors import PyMongoError

from assets.work.opened import Opened
from pipelines.operations.lineage.told import SourceNow
from resources.core.errors import EmbeddingsError
from resources.core.keys import key, shown
from resources.core.written import block
from resources.registry.pipeline_spaces import SpaceEntry
from resources.sources.chunking import Chunking, NoChunking
from resources.sources.looked_up import LookedUp, look_up
from resources.sources.records import RejectedRecord
from resources.sources.resource import SourceResource


class Since:
    """What the source says now; the records are read once.

    Args:
        opened: As its settings have it: the source's text is made as they say now.
        ids: Of the source's records.
    """

    def __init__(self, opened: Opened, ids: Sequence[Any]) -> None:
        self._source, self._why = opened.source, ""
        self._found = LookedUp({}, whole=False, seen=0)
        self._texts: dict[tuple[str, str], frozenset[str]] = {}
        try:
            client = opened.client if opened.source.needs_mongodb else None
            self._found = look_up(opened.source, client, ids)
        except (EmbeddingsError, PyMongoError) as error:
            self._why = f"the source cannot be read: {error}"

    def of(self, source_id: Any, lineage: Mapping[str, Any], entry: SpaceEntry | None) -> SourceNow:
        """What has become of a vector's text.

        Args:
            source_id: Of its record.
            lineage: As stored with the vector.
            entry: Its space, which says how documents are cut.
        """
        if self._why:
            return SourceNow("unknown", self._why)
        record = self._found.found.get(key(source_id))
        if record is None:
            if self._found.whole:
                return SourceNow("gone")
            seen = f"{self._found.seen:,}"
            return SourceNow("unknown", f"it is not among the first {seen} records of the source")
        if isinstance(record, RejectedRecord):
            return SourceNow("refused", record.reason)
        try:
            chunking = self._chunking(entry)
            name = key(source_id), repr(chunking)
            if name not in self._texts:
                self._texts[name] = frozenset(c.text_hash for c in chunking.chunks(record))
        except EmbeddingsError as error:
            return SourceNow("unknown", f"{shown(source_id)} cannot be cut: {error}")
        if lineage.get("text_hash") in self._texts[name]:
            return SourceNow("same")
        if not isinstance(chunking, NoChunking):
            why = "its document is there, and this chunk does not come out of it any more"
            return SourceNow("changed", why)
        return SourceNow("changed")

    def _chunking(self, entry: SpaceEntry | None) -> Chunking:
        if entry is None or entry.chunking is None:
            return self._source.chunking
        return block(SourceResource, "chunking", entry.chunking)
