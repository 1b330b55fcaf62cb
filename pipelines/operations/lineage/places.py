"""Where vectors may lie in the documents of a collection, and what their spaces are there."""

from collections.abc import Iterator, Mapping
from typing import Any

from pymongo.collection import Collection

from assets.work.opened import Opened
from pipelines.operations.lineage.told import Known
from resources.core.lineage import lineage_path, rescore_path
from resources.core.once import once
from resources.registry.pipeline_spaces import PipelineRecord, SpaceEntry
from resources.sources.fields import without_nested
from resources.vector_store.store import at_path


class Places:
    """Of the collection that a pipeline stores to, whichever pipelines do; asks no model.

    Args:
        opened: As its settings have it.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    @once
    def collection(self) -> Collection:
        base = self._opened.base_key
        return self._opened.client[base.database][base.collection]

    @once
    def paths(self) -> list[str]:
        """Where vectors are, were, or are to be; the pipeline's own first, of them the serving."""
        o = self._opened
        own = sorted(o.record.entries(), key=lambda each: each.space_id != o.record.serving)
        mine = [each.path(o.base_key.path) for each in own if not each.retired]
        written = o.registry.stores.paths(self.collection.full_name)
        return list(dict.fromkeys([*mine, o.base_key.path, *sorted(written)]))

    @once
    def without_vectors(self) -> dict[str, int]:
        """A projection that leaves all vectors out."""
        both = [at for path in self.paths for at in (path, rescore_path(path))]
        return dict.fromkeys(without_nested(both), 0)

    @once
    def mine(self) -> dict[str, Any]:
        """A filter for the documents in which the pipeline has a vector, in whatever space."""
        name = self._opened.name
        return {"$or": [{f"{lineage_path(path)}.pipeline": name} for path in self.paths]}

    def vectors(self, document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Path and lineage of each vector of ours in a document."""
        for path in self.paths:
            found = at_path(document, lineage_path(path))
            if isinstance(found, Mapping) and found.get("space"):
                yield path, found

    def entry(self, pipeline: str, path: str, space_id: str) -> SpaceEntry | None:
        """What is noted of a pipeline's space at a path."""
        for record in self._records(pipeline):
            entry = record.entry(space_id)
            if entry is not None and entry.path(record.store.path) == path:
                return entry
        return None

    def state(self, pipeline: str, path: str, space_id: str) -> Known:
        """What a pipeline's space at a path is to it."""
        for record in self._records(pipeline):
            entry = record.entry(space_id)
            if entry is not None and entry.path(record.store.path) == path:
                return record.state(space_id)
        return "unknown"

    @once
    def _by_pipeline(self) -> dict[str, list[PipelineRecord]]:
        found: dict[str, list[PipelineRecord]] = {}
        base = self._opened.base_key
        for record in self._opened.registry.of_pipelines.all():
            if record.store.namespace == base.namespace:
                found.setdefault(record.pipeline, []).append(record)
        # One from before its spaces were written down.
        found.setdefault(self._opened.name, [self._opened.record])
        return found

    def _records(self, pipeline: str) -> list[PipelineRecord]:
        return self._by_pipeline.get(pipeline, [])
