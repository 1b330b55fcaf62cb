"""The engine for a deployment without search nodes: an index of files that follows the store."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from resources.batch_store.store import BatchStore
from resources.core.credentials import redacted
from resources.core.errors import SearchIndexError
from resources.core.keys import key
from resources.core.progress import Progress
from resources.core.space import EmbeddingSpace
from resources.core.windows import WINDOW_BYTES, ahead, windows
from resources.mongodb.lease import Lease
from resources.registry.indexes import IndexEntry
from resources.registry.registry import Registry
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.engine import Coverage, IndexReport, MergeReport, SearchEngine
from resources.search_index.filters.columns import Mask
from resources.search_index.local import merging
from resources.search_index.local.builder import SegmentBuilder
from resources.search_index.local.changes import Changes, compare
from resources.search_index.local.faiss_index import ADD_BATCH
from resources.search_index.local.retexting import Retexting
from resources.search_index.local.segment import Segment
from resources.search_index.local.served import ServedLocally
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.signatures import Lookup, of_ids, unknown
from resources.search_index.local.texts import Texts
from resources.search_index.local.version import Version
from resources.search_index.local.versions import Part, Versions
from resources.vector_store.store import StoredVector, VectorStore

READ = 1_000


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
        self._declared = declared
        self._key = store.key.index(declared.name)
        self._versions = Versions(batches, pipeline, declared.name)
        # What of it makes an index another one.
        names = (
            "similarity", "filter_fields", "exact_below", "max_edges", "num_edge_candidates",
        )  # fmt: skip
        self._declaration = {
            **{name: getattr(declared, name) for name in names},
            "element": store.element,
        }
        self._texts = Texts(store, declared.text) if declared.text else None
        if self._texts:
            self._declaration["text"] = self._texts.declaration
        self._marked = [*declared.filter_fields, *(self._texts.marked if self._texts else ())]
        self._fields = [*declared.filter_fields, *(self._texts.fields if self._texts else ())]

    @property
    def _shape(self) -> IndexShape:
        declared = self._declared
        return IndexShape(
            self._space.dimensions,
            declared.similarity,
            tuple(declared.filter_fields),
            declared.exact_below,
            declared.max_edges,
            declared.num_edge_candidates,
            self._store.element,
            declared.text.tokenizer if declared.text else None,
        )

    # --- following the store

    def reconcile(self, log: Callable[[str], None], lease: Lease | None = None) -> IndexReport:
        start = time.monotonic()
        stored = self._store.count_space(self._space.id)
        fingerprint = self._fingerprint(stored)
        entry = self._registry.indexes.get(self._key)
        before = self._opened(entry, log)
        if entry is not None and before is not None and entry.fingerprint == fingerprint:
            if entry.stored_as != str(self._store.format):  # of the same values, as an array
                self._record(before, fingerprint, lease)
            return self._report(before, stored, start)
        retexted = before is None
        if before is None and entry is not None:
            before = self._retexted(entry, stored, log, lease)
        changes = self._changes(before, stored, lease)
        if before is not None and changes.nothing:
            self._record(before, fingerprint, lease)
            return self._report(before, stored, start, changes if retexted else None)
        if before is None or len(changes.ids) > changes.kept:
            made = self._rebuilt(before, changes, log, lease)
        else:
            made = self._followed(before, changes, log, lease)
        if lease:
            lease.check()
        self._record(made, fingerprint, lease)
        self._prune(made.name, entry)
        return self._report(made, stored, start, changes)

    def _opened(self, entry: IndexEntry | None, log: Callable[[str], None]) -> Version | None:
        """The version that serves, if it is what is declared now."""
        if entry is None or entry.declaration != self._declaration:
            return None
        return self._usable(entry, log)

    def _usable(self, entry: IndexEntry, log: Callable[[str], None]) -> Version | None:
        """The version that serves, if it is ours and whole."""
        if (entry.engine, entry.space_id, entry.store) != (
            self.name, self._space.id, str(self._store.key),
        ):  # fmt: skip
            return None
        try:
            return self._versions.open(entry.version)
        except SearchIndexError as error:
            log(f"{error}; building it again")
            return None

    def _retexted(
        self, entry: IndexEntry, stored: int, log: Callable[[str], None], lease: Lease | None
    ) -> Version | None:
        """The version that serves with the texts that are declared now, if nothing else differs."""
        was = dict(entry.declaration or {})
        text_was = was.pop("text", {})
        if was != {name: value for name, value in self._declaration.items() if name != "text"}:
            return None
        before = self._usable(entry, log)
        if before is None:
            return None
        log("the vectors stay as they are, the words are indexed anew")
        shape = self._shape
        retexting = Retexting(before, shape.tokenizer)
        now = self._changes(None, stored, lease)
        if self._texts:
            progress = Progress(log, "texts indexed", stored)
            for ids, texts in self._texts.read(self._space.id, stored):
                if lease:
                    lease.check()
                retexting.add(ids, texts)
                progress.advance(len(ids))
            progress.finish()
        marked = [*self._declared.filter_fields, *text_was.get("marked", ())]
        then = self._changes(before, stored, lease, marked)
        if lease:
            lease.check()
        segments = retexting.finish(now, then.deleted)
        made: list[Part] = [
            (self._versions.save(segment, shape), len(segment), mask if mask.any() else None)
            for segment, mask in zip(segments, then.deleted, strict=True)
        ]
        return self._versions.make(shape, made)

    def _changes(
        self,
        before: Version | None,
        stored: int,
        lease: Lease | None,
        marked: Sequence[str] | None = None,
    ) -> Changes:
        fields = self._marked if marked is None else marked
        marks = self._store.marks(self._space.id, fields, expected=stored)
        codec = self._store.collection.codec_options
        return compare(marks, before, codec, lease.check if lease else lambda: None)

    def _rebuilt(
        self,
        before: Version | None,
        changes: Changes,
        log: Callable[[str], None],
        lease: Lease | None,
    ) -> Version:
        """A version of one segment, read as the vectors come."""
        if before is not None:  # what is up to date is read again too
            changes = self._changes(None, len(changes.ids) + changes.kept, lease)
        made_of, lookup = changes.signatures, Lookup(of_ids(changes.ids))
        builder = SegmentBuilder(self._shape, expected=len(changes.ids))
        progress = Progress(log, "vectors indexed", len(changes.ids))
        for rows in ahead(self._vectors(self._read_at_once)):
            if lease:
                lease.check()
            found = lookup.rows(of_ids(row.id for row in rows))
            signatures = unknown(len(rows))  # of what came since the comparison
            signatures[found >= 0] = made_of[found[found >= 0]]
            self._add(builder, rows, signatures)
            progress.advance(len(rows))
        segment = builder.finish()
        progress.finish()
        return self._saved(segment, [], [], lease)

    @property
    def _read_at_once(self) -> int:
        """As many vectors as are added at once, so that the next are read meanwhile."""
        return min(ADD_BATCH, max(READ, WINDOW_BYTES // (4 * self._space.dimensions)))

    def _followed(
        self,
        before: Version,
        changes: Changes,
        log: Callable[[str], None],
        lease: Lease | None,
    ) -> Version:
        """A version that shares the segments before it, with one more."""
        kept = merging.kept_segments(before.segments, changes.deleted, len(changes.ids))
        rest = list(zip(before.segments[kept:], changes.deleted[kept:], strict=True))
        more = len(changes.ids) + sum(int((~mask).sum()) for _, mask in rest)
        flat = not merging.worth_a_graph(more, before.segments[:kept])
        builder = SegmentBuilder(self._shape, expected=more, flat=flat)
        for segment, mask in rest:
            builder.extend(segment, merging.alive_rows(segment, mask))
        progress = Progress(log, "changed vectors indexed", len(changes.ids))
        for rows, signatures in self._read(changes):
            if lease:
                lease.check()
            self._add(builder, rows, signatures)
            progress.advance(len(rows))
        progress.finish()
        return self._saved(builder.finish(), before.segments[:kept], changes.deleted[:kept], lease)

    def _read(self, changes: Changes) -> Iterator[tuple[list[StoredVector], np.ndarray]]:
        """The vectors of what changed; those that vanished meanwhile are left out."""
        for at in windows(range(len(changes.ids)), READ):
            ids = [changes.ids[number] for number in at]
            numbers = {key(each): number for each, number in zip(ids, at, strict=True)}
            for rows in self._vectors(READ, ids):
                yield rows, changes.signatures[[numbers[key(row.id)] for row in rows]]

    def _vectors(
        self, at_once: int, ids: Sequence[Any] | None = None
    ) -> Iterator[list[StoredVector]]:
        size = self._texts.size if self._texts else None
        return self._store.vectors(self._space.id, self._fields, at_once, ids=ids, size_of=size)

    def _add(
        self, builder: SegmentBuilder, rows: Sequence[StoredVector], signatures: np.ndarray
    ) -> None:
        builder.add(
            [row.id for row in rows],
            np.stack([row.vector for row in rows]),
            [row.fields for row in rows],
            signatures,
            [self._texts.of(row.fields) for row in rows] if self._texts else None,
        )

    def _saved(
        self,
        segment: Segment,
        others: Sequence[Segment],
        deleted: Sequence[Mask],
        lease: Lease | None,
    ) -> Version:
        """A new version, which nobody searches before the registry names it."""
        if lease:
            lease.check()
        made: list[Part] = [
            (other.name, len(other), mask if mask.any() else None)
            for other, mask in zip(others, deleted, strict=True)
            if not mask.all()
        ]
        if len(segment):
            made.append((self._versions.save(segment, self._shape), len(segment), None))
        return self._versions.make(self._shape, made)

    def _record(self, made: Version, fingerprint: str, lease: Lease | None) -> None:
        entry = IndexEntry(
            engine=self.name,
            space_id=self._space.id,
            store=str(self._store.key),
            version=made.name,
            indexed=len(made),
            stored_as=str(self._store.format),
            similarity=self._declared.similarity,
            fingerprint=fingerprint,
            declaration=self._declaration,
        )
        self._registry.indexes.record(self._key, entry, lease)

    def _prune(self, version: str, before: IndexEntry | None) -> None:
        # A searcher may still be opening the one before.
        last = before.version if before and before.engine == self.name else version
        self._versions.prune([version, last])

    def _fingerprint(self, stored: int) -> str:
        """Changes with whatever makes the index out of date."""
        entry = self._registry.stores.get(self._store.key)
        revision = entry.revision if entry else None
        parts = [self._declaration, self._space.id, revision, stored]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def _report(
        self, version: Version, stored: int, start: float, changes: Changes | None = None
    ) -> IndexReport:
        return IndexReport(
            engine=self.name,
            changed=changes is not None,
            stored=stored,
            indexed=len(version),
            seconds=time.monotonic() - start,
            details={
                "index files": redacted(self._versions.folder),
                "segments": len(version.segments),
                "vectors read": len(changes.ids) if changes else 0,
                "rows deleted": changes.gone if changes else 0,
                **({} if version.text is None else {"texts": version.text.rows}),
            },
            merge_due=merging.merge_due(version),
        )

    # --- merging

    def merge(self, log: Callable[[str], None]) -> MergeReport | None:
        start = time.monotonic()
        entry, made_of = self._serving()
        if not merging.merge_due(made_of):
            return None
        log(f"merging {len(made_of.segments)} segments of {len(made_of):,} vectors")
        segment = merging.merged(made_of)
        name = self._versions.save(segment, made_of.shape)
        while True:
            entry, now = self._serving()
            based = merging.rebased(made_of, now)
            if based is None:
                why = "the index was built anew meanwhile"
                return MergeReport(False, len(segment), time.monotonic() - start, why)
            deleted, newer, masks = based
            parts = [(each.name, len(each), mask) for each, mask in zip(newer, masks, strict=True)]
            first = (name, len(segment), deleted if deleted.any() else None)
            made = self._versions.make(made_of.shape, [first, *parts])
            if self._registry.indexes.replace_version(self._key, entry, made.name):
                self._prune(made.name, entry)
                return MergeReport(True, len(segment), time.monotonic() - start)

    def _serving(self) -> tuple[IndexEntry, Version]:
        entry = self._entry()
        return entry, self._versions.open(entry.version)

    def _entry(self) -> IndexEntry:
        entry = self._registry.indexes.get(self._key)
        if entry is None or entry.engine != self.name:
            raise SearchIndexError(
                f"there is no local index {self._key}: materialize search_index first"
            )
        return entry

    # --- serving

    def coverage(self, *, thorough: bool = True) -> Coverage:
        stored, indexed = self._store.count_space(self._space.id), len(self.serve())
        why = f"{indexed:,} indexed, but {stored:,} stored: materialize search_index"
        return Coverage(stored, indexed, why if indexed != stored else "")

    def glance(self, stored: int | None) -> Coverage:
        entry = self._entry()
        indexed = self._versions.glance(entry.version)
        known, why = entry.indexed if stored is None else stored, ""
        if indexed != known:
            why = f"{indexed:,} indexed, but {known:,} stored: materialize search_index"
        elif entry.fingerprint != self._fingerprint(known):
            why = (
                "the vectors or the index's settings have changed since it was built: materialize "
                "search_index"
            )
        return Coverage(known, indexed, why)

    def drop(self) -> None:
        self._versions.remove()

    def serve(self) -> ServedLocally:
        entry, version = self._serving()
        return ServedLocally(
            entry, version, folder=redacted(self._versions.folder), path=self._store.path
        )
