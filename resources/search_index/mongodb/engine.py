"""The engine of a deployment with search nodes: `$vectorSearch`."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from pymongo.errors import OperationFailure
from pymongo.operations import SearchIndexModel

from resources.core.errors import SearchIndexError
from resources.core.space import EmbeddingSpace
from resources.mongodb.lease import Lease
from resources.registry.indexes import IndexEntry
from resources.registry.registry import Registry
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.engine import Coverage, IndexReport, SearchEngine, ServedIndex
from resources.search_index.mongodb.definition import TYPE, build_definition, differences
from resources.search_index.mongodb.left_out import LeftOut, left_out
from resources.search_index.mongodb.lifecycle import (
    IndexState,
    already_exists,
    deployment_indexes,
    find_index,
    index_errors,
)
from resources.search_index.mongodb.served import ServedByMongoDB
from resources.search_index.mongodb.waiting import IndexWait
from resources.vector_store.store import VectorStore

ATLAS_LIMITS = "a free cluster takes 3 search indexes, a flex cluster 10"


class MongoDBEngine(SearchEngine):
    name = "mongodb"

    def __init__(
        self,
        *,
        store: VectorStore,
        registry: Registry,
        space: EmbeddingSpace,
        declared: IndexDeclaration,
    ) -> None:
        self._store, self._registry, self._space = store, registry, space
        self._declared, self._key = declared, store.key.index(declared.name)
        self._collection = store.collection
        self._index = declared.name
        self._space_path = f"{store.lineage_path}.space"

    # --- lifecycle

    def reconcile(self, log: Callable[[str], None], lease: Lease | None = None) -> IndexReport:
        start = time.monotonic()
        stored = self._store.count_space(self._space.id)
        wanted = build_definition(
            self._declared,
            path=self._store.path,
            dimensions=self._space.dimensions,
            space_path=self._space_path,
        )
        wait = IndexWait(
            self._collection,
            self._index,
            documents=self._collection.estimated_document_count(),
            poll_seconds=self._declared.poll_seconds,
            timeout_seconds=self._declared.timeout_seconds,
            log=log,
        )
        with index_errors(self._collection, self._index):
            state = self._find()
            if state is not None and state.status == "DELETING":
                log(f"index {self._index} is being deleted: waiting until it is gone")
                wait.until_gone()
                state = self._find()
            if lease:
                # The server knows no fence: what a holder frozen right here declares stands until
                # the next run finds it different. The registry's entry has one.
                lease.check()
            changed = self._declare(state, wanted, log)

            def arrived(found: IndexState) -> bool:
                if lease:  # a newer run may have declared another: this one would wait in vain
                    lease.check()
                return self._arrived(found, state, wanted, changed=changed)

            state = wait.until_serving(
                arrived,
                was_failed=state is not None and state.status == "FAILED",
            )
            state = wait.until_caught_up(state)
        indexed = max(0, stored - self._on_their_way(state))
        made = IndexEntry(
            engine=self.name,
            space_id=self._space.id,
            store=str(self._store.key),
            version=state.version,
            indexed=indexed,
            definition=dict(state.definition),
        )
        self._registry.indexes.record(self._key, made, lease)
        return IndexReport(
            engine=self.name,
            changed=changed,
            stored=stored,
            indexed=indexed,
            seconds=time.monotonic() - start,
            details={
                "status": state.status,
                "definition version": state.version if state.version is not None else "unknown",
                "definition": dict(wanted),
            },
        )

    def _find(self) -> IndexState | None:
        found = find_index(self._collection, self._index)
        if found is not None and found.type != TYPE and found.status != "DOES_NOT_EXIST":
            raise SearchIndexError(
                f"{self._collection.full_name} has an index {self._index} of type {found.type}, "
                "not vectorSearch: choose another `name` for search_index"
            )
        return found

    def _declare(
        self, state: IndexState | None, wanted: Mapping[str, Any], log: Callable[[str], None]
    ) -> bool:
        """Create or update the index, unless it is declared like this already."""
        if state is None or state.status == "DOES_NOT_EXIST":
            self._create(wanted, log)
            return True
        different = differences(state.definition, wanted)
        if not different and state.status != "FAILED":
            return False
        why = "; ".join(different) or f"it has failed ({state.message or 'no reason given'})"
        log(f"updating index {self._index}: {why}; until it is built, the old one serves")
        self._collection.update_search_index(self._index, dict(wanted))
        return True

    def _create(self, wanted: Mapping[str, Any], log: Callable[[str], None]) -> None:
        database = self._collection.database
        if self._collection.name not in database.list_collection_names():
            # An index needs its collection.
            database.create_collection(self._collection.name)
        there = deployment_indexes(database.client, database.name)
        atlas = any(".mongodb.net" in host for host, _ in database.client.nodes)
        log(
            f"creating index {self._index}"
            + (f", beside {len(there)} of this deployment ({ATLAS_LIMITS})" if atlas else "")
        )
        model = SearchIndexModel(dict(wanted), name=self._index, type=TYPE)
        try:
            self._collection.create_search_index(model)
        except OperationFailure as error:
            if not already_exists(error):
                raise
            # Somebody else was faster, with another definition.
            self._collection.update_search_index(self._index, dict(wanted))

    def _arrived(
        self,
        found: IndexState,
        before: IndexState | None,
        wanted: Mapping[str, Any],
        *,
        changed: bool,
    ) -> bool:
        """Whether what the server lists is the definition sent, not the one before it."""
        if differences(found.definition, wanted):
            return False
        if not changed or before is None or before.version is None or found.version is None:
            return True
        return found.version > before.version

    # --- counting

    def _listed(self) -> IndexState:
        with index_errors(self._collection, self._index):
            state = self._find()
        if state is None:
            raise SearchIndexError(
                f"there is no index {self._index} on {self._collection.full_name}: materialize "
                "search_index first"
            )
        return state

    def coverage(self, *, thorough: bool = True) -> Coverage:
        state, stored = self._listed(), self._store.count_space(self._space.id)
        late, skipped = self._on_their_way(state), self._left_out(thorough=thorough)
        causes = []
        if skipped.count:
            causes.append(
                f"{skipped.count:,} of {stored:,} stored vectors are not in the index: the server "
                f"leaves out {skipped.describe()}; `embeddings audit --repair` stores them anew"
            )
        if late:
            causes.append(
                f"{late:,} documents of {self._collection.full_name} are not in the index, which "
                f"is {state.status}, yet: the search nodes are still catching up; materialize "
                "search_index again later"
            )
        return Coverage(stored, max(0, stored - skipped.count - late), "; ".join(causes))

    def _left_out(self, *, thorough: bool) -> LeftOut:
        """What no count shows; a scan, so it is done once for every change of store or index."""
        how = {
            "path": self._store.path,
            "dimensions": self._space.dimensions,
            "similarity": self._declared.similarity,
            "quantization": self._declared.quantization,
        }
        changed = self._registry.stores.get(self._store.key)
        revision = changed.revision if changed else None
        seen = {"revision": revision, **how}
        entry = self._registry.indexes.get(self._key)
        clean = entry.nothing_left_out if entry else None
        if not thorough and revision is not None and clean == seen:
            return LeftOut()
        found = left_out(self._collection, {self._space_path: self._space.id}, **how)
        if entry and not found.count:
            self._registry.indexes.note_nothing_left_out(self._key, seen)
        return found

    def _on_their_way(self, state: IndexState) -> int:
        """Documents of the collection that have not reached the index.

        The server counts documents, not vectors: mongot keeps an entry for each document of the
        collection, even where it leaves the vector out (`SingleLuceneIndexWriter`).
        """
        if state.indexed is None:
            return 0  # a server that does not count leaves nothing to compare with
        # The estimate costs nothing, but an unclean shutdown may have left it too high.
        if state.indexed >= self._collection.estimated_document_count():
            return 0
        return max(0, self._collection.count_documents({}) - state.indexed)

    # --- searching

    def serve(self) -> ServedIndex:
        entry = self._registry.indexes.get(self._key)
        # As the index was when it was last seen to serve; the server is asked only where that is
        # not known.
        definition = entry.definition if entry else None
        if not definition:
            with index_errors(self._collection, self._index):
                state = self._find()
            definition = state.definition if state else {}
        made = entry or IndexEntry(self.name, self._space.id, str(self._store.key), None, 0)
        return ServedByMongoDB(
            made,
            definition,
            store=self._store,
            index=self._index,
            why_missing=lambda: self.coverage().why,
        )
