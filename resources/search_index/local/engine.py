"""The engine for a deployment without search nodes: an index file built from stored vectors."""

import functools
import hashlib
import json
import time
from collections.abc import Callable

import numpy as np

from resources.batch_store.files import version_name
from resources.batch_store.store import BatchStore
from resources.core.errors import SearchIndexError
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.mongodb.lease import Lease
from resources.registry.indexes import IndexEntry
from resources.registry.registry import Registry
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.engine import Coverage, IndexReport, SearchEngine
from resources.search_index.local.builder import LocalIndexBuilder
from resources.search_index.local.files import load_index, save_index
from resources.search_index.local.index import LocalIndex
from resources.search_index.local.served import ServedLocally
from resources.vector_store.store import VectorStore


class LocalEngine(SearchEngine):
    name = "local"

    def __init__(
        self,
        *,
        store: VectorStore,
        batches: BatchStore,
        registry: Registry,
        space: EmbeddingSpace,
        pipeline: str,
        declared: IndexDeclaration,
    ) -> None:
        self._store, self._registry, self._space = store, registry, space
        self._batches, self._pipeline, self._declared = batches, pipeline, declared
        self._key = store.key.index(declared.name)
        self._folder = batches.index_folder(pipeline, declared.name)
        # What of it makes an index another one.
        names = (
            "similarity", "filter_fields", "exact_below", "max_edges", "num_edge_candidates",
        )  # fmt: skip
        self._declaration = {
            **{name: getattr(declared, name) for name in names},
            "element": store.element,
        }

    def reconcile(self, log: Callable[[str], None], lease: Lease | None = None) -> IndexReport:
        start = time.monotonic()
        stored = self._store.count_space(self._space.id)
        fingerprint = self._fingerprint(stored)
        entry = self._registry.indexes.get(self._key)
        if entry is not None and entry.fingerprint == fingerprint:
            try:
                index = _load(f"{self._folder}/{entry.version}")
            except SearchIndexError as error:
                log(f"{error}; building it again")
            else:
                return self._report(index, stored, start, changed=False)
        index, version = self._build(stored, log, lease)
        made = IndexEntry(
            engine=self.name,
            space_id=self._space.id,
            store=str(self._store.key),
            version=version,
            indexed=len(index),
            fingerprint=fingerprint,
            declaration=self._declaration,
        )
        self._registry.indexes.record(self._key, made, lease)
        self._batches.prune_index(self._pipeline, self._declared.name, keep=[version])
        return self._report(index, stored, start, changed=True)

    def _build(
        self, stored: int, log: Callable[[str], None], lease: Lease | None
    ) -> tuple[LocalIndex, str]:
        """A new version, which nobody searches before the registry names it."""
        declared = self._declared
        builder = LocalIndexBuilder(
            dimensions=self._space.dimensions,
            similarity=declared.similarity,
            filter_paths=declared.filter_fields,
            exact_below=declared.exact_below,
            max_edges=declared.max_edges,
            num_edge_candidates=declared.num_edge_candidates,
            expected=stored,
            element=self._store.element,
        )
        progress = Progress(log, "vectors indexed", stored)
        for rows in self._store.vectors(self._space.id, declared.filter_fields):
            if lease:
                lease.check()
            builder.add(
                [row.id for row in rows],
                np.stack([row.vector for row in rows]),
                [row.fields for row in rows],
            )
            progress.advance(len(rows))
        index = builder.finish()
        if lease:
            lease.check()
        version = version_name()
        save_index(index, f"{self._folder}/{version}")
        progress.finish()
        return index, version

    def _fingerprint(self, stored: int) -> str:
        """Changes with whatever makes the index out of date."""
        entry = self._registry.stores.get(self._store.key)
        revision = entry.revision if entry else None
        parts = [self._declaration, self._space.id, revision, stored]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _report(
        self, index: LocalIndex, stored: int, start: float, *, changed: bool
    ) -> IndexReport:
        return IndexReport(
            engine=self.name,
            changed=changed,
            stored=stored,
            indexed=len(index),
            seconds=time.monotonic() - start,
            details={"index files": self._folder},
        )

    def coverage(self, *, thorough: bool = True) -> Coverage:
        stored, indexed = self._store.count_space(self._space.id), len(self.serve())
        why = f"{indexed:,} indexed, but {stored:,} stored: materialize search_index"
        return Coverage(stored, indexed, why if indexed != stored else "")

    def serve(self) -> ServedLocally:
        entry = self._registry.indexes.get(self._key)
        if entry is None or entry.engine != self.name:
            raise SearchIndexError(
                f"there is no local index {self._key}: materialize search_index first"
            )
        index = _load(f"{self._folder}/{entry.version}")
        return ServedLocally(entry, index, folder=self._folder, path=self._store.path)


@functools.lru_cache(maxsize=4)
def _load(folder: str) -> LocalIndex:
    """A version never changes, so a process reads it once."""
    return load_index(folder)
