"""The engine of a deployment with search nodes: `$vectorSearch`, and `$search` beside it."""

import time
from collections.abc import Callable

from resources.core.space import EmbeddingSpace
from resources.mongodb.deployment import is_atlas
from resources.mongodb.lease import Lease
from resources.registry.indexes import IndexEntry
from resources.registry.registry import Registry
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.engine import Coverage, IndexReport, SearchEngine, ServedIndex
from resources.search_index.mongodb.definition import TYPE, build_definition, differences
from resources.search_index.mongodb.left_out import LeftOut, left_out
from resources.search_index.mongodb.lifecycle import IndexState, index_errors
from resources.search_index.mongodb.served import ServedByMongoDB
from resources.search_index.mongodb.text_index import TextIndex
from resources.search_index.mongodb.upkeep import ServerIndex
from resources.search_index.mongodb.waiting import IndexWait
from resources.vector_store.store import VectorStore


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
        self._vectors = ServerIndex(store.collection, declared.name, TYPE, differences)
        self._text = TextIndex(store, registry.indexes, declared, self._space_path, wait=self._wait)

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
        wait = self._wait(self._vectors.name, log)
        with index_errors(self._collection, self._index):
            state = self._vectors.find_settled(wait, log)
            if lease:
                # The server knows no fence: what a holder frozen right here declares stands until
                # the next run finds it different. The registry's entry has one.
                lease.check()
            changed = self._vectors.declare(state, wanted, log)
        # Both are declared before either is waited for: the server builds them side by side.
        text = self._text.declare(log, lease)
        with index_errors(self._collection, self._index):
            state = self._vectors.await_serving(wait, state, wanted, changed=changed, lease=lease)
        text_state = self._text.await_serving(text, lease) if text else None
        indexed = max(0, stored - self._on_their_way(state))
        made = IndexEntry(
            engine=self.name,
            space_id=self._space.id,
            store=str(self._store.key),
            version=state.version,
            indexed=indexed,
            stored_as=str(self._store.format),
            similarity=self._declared.similarity,
            definition=dict(state.definition),
            text_definition=dict(text_state.definition) if text_state else None,
        )
        self._registry.indexes.record(self._key, made, lease)
        details = {
            "status": state.status,
            **({} if state.version is None else {"definition version": state.version}),
            "definition": dict(wanted),
        }
        if text_state:
            details["text index"] = f"{self._text.name} ({text_state.status})"
            details["text definition"] = dict(text_state.definition)
        return IndexReport(
            engine=self.name,
            changed=changed or self._text.changed,
            stored=stored,
            indexed=indexed,
            seconds=time.monotonic() - start,
            details=details,
        )

    def _wait(self, name: str, log: Callable[[str], None]) -> IndexWait:
        return IndexWait(
            self._collection,
            name,
            documents=self._collection.estimated_document_count(),
            poll_seconds=self._declared.poll_seconds,
            timeout_seconds=self._declared.timeout_seconds,
            log=log,
        )

    # --- counting

    def _listed(self) -> IndexState:
        with index_errors(self._collection, self._index):
            return self._vectors.listed()

    def coverage(self, *, thorough: bool = True) -> Coverage:
        return self._coverage(thorough=thorough, texts=True)

    def _coverage(self, *, thorough: bool, texts: bool) -> Coverage:
        """With the search index over the texts, or of the vectors alone."""
        states, stored = [self._listed()], self._store.count_space(self._space.id)
        if texts and self._declared.text:
            states.append(self._text.listed())
        skipped, lates = self._left_out(thorough=thorough), [0]
        causes = []
        if skipped.count:
            causes.append(
                f"{skipped.count:,} of {stored:,} stored vectors are not in the index: the server "
                f"leaves out {skipped.describe()}; `embeddings audit --repair` stores them anew"
            )
        for state in states:
            late = self._on_their_way(state)
            if late:
                lates.append(late)
                causes.append(
                    f"{late:,} documents of {self._collection.full_name} are not in the index "
                    f"{state.name}, which is {state.status}, yet: the search nodes are still "
                    "catching up; materialize search_index again later"
                )
        return Coverage(stored, max(0, stored - skipped.count - max(lates)), "; ".join(causes))

    def glance(self, stored: int | None) -> Coverage:
        states, entry = [self._listed()], self._registry.indexes.get(self._key)
        if self._declared.text:
            states.append(self._text.listed())
        known = (entry.indexed if entry else 0) if stored is None else stored
        for state in states:
            if not state.queryable:
                why = f"the index {state.name} is {state.status}, and serves nothing"
                return Coverage(known, 0, why)
        # A search node counts every document of the collection.
        there = self._collection.estimated_document_count()
        late = {
            state.name: max(0, there - state.indexed)
            for state in states
            if state.indexed is not None
        }
        causes = [
            f"{count:,} documents of {self._collection.full_name} are not in the index {name} yet"
            for name, count in late.items()
            if count
        ]
        return Coverage(known, max(0, known - max(late.values(), default=0)), "; ".join(causes))

    def _left_out(self, *, thorough: bool) -> LeftOut:
        """What no count shows; a scan, so it is done once for every change of store or index."""
        how = {
            "path": self._store.path,
            "dimensions": self._space.dimensions,
            "similarity": self._declared.similarity,
            "quantization": self._declared.quantization,
            "int8_too": is_atlas(self._collection.database.client),
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

    def drop(self) -> None:
        self._text.drop()
        with index_errors(self._collection, self._index):
            state = self._vectors.find()
            paths = (
                [each.get("path") for each in state.definition.get("fields", [])] if state else []
            )
            # What has the name and is over another path is somebody else's.
            if state is not None and state.there and self._store.path in paths:
                self._collection.drop_search_index(self._index)

    # --- searching

    def serve(self) -> ServedIndex:
        entry = self._registry.indexes.get(self._key)
        # As the indexes were when they were last seen to serve; the server is asked only where
        # that is not known.
        definition = entry.definition if entry else None
        if not definition:
            with index_errors(self._collection, self._index):
                state = self._vectors.find()
            definition = state.definition if state else {}
        made = entry or IndexEntry(self.name, self._space.id, str(self._store.key), None, 0)
        return ServedByMongoDB(
            made,
            definition,
            store=self._store,
            declared=self._declared,
            why_missing=lambda: self._coverage(thorough=True, texts=False).why,
        )
