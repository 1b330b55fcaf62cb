"""Writing vectors with their lineage, and refreshing what is carried along."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymongo import InsertOne, UpdateOne

from resources.core.chunks import Chunk
from resources.core.keys import key
from resources.core.lineage import Lineage
from resources.core.vectors import to_bson
from resources.mongodb.lease import Lease
from resources.sources.fields import store as put
from resources.sources.records import EXCERPT_LENGTH
from resources.vector_store.layout import laid_out
from resources.vector_store.ownership import (
    INSERTED_FIELD,
    Occupant,
    nothing_but,
    only_lineage,
)
from resources.vector_store.remover import VectorRemover
from resources.vector_store.store import (
    SOURCE_FIELD,
    TEXT_FIELD,
    UNWRITTEN,
    StoredState,
    VectorStore,
)
from resources.vector_store.writes import Write, write_all

ROUNDS = 3
"""Looks at documents that came or went while they were being written."""

Row = tuple[Chunk, np.ndarray, Lineage]


@dataclass(frozen=True)
class _Change:
    """What shall be set in a chunk's document: with its vector, or of its fields only.

    Attributes:
        values: By path.
        fields: What the chunk carries, as it is laid out here.
        gone: What shall not be there any more.
    """

    chunk: Chunk
    values: dict[str, Any]
    fields: Mapping[str, Any]
    vector: bool
    gone: Sequence[str] = ()

    def is_done(self, state: StoredState | None, store: VectorStore) -> bool:
        if state is None or state.owner != store.pipeline:
            # There may be no vector any more beside which fields could be refreshed.
            return not self.vector
        if store.beside and state.fields_hash == UNWRITTEN:
            state = dataclasses.replace(state, fields_hash=self.chunk.fields_hash)
        if not self.vector:
            return state.fields_hash == self.chunk.fields_hash
        lineage = self.values[store.lineage_path]
        wanted = ("space", "text_hash", "fields_hash", "stored_as", "cut")
        have = (state.space_id, state.text_hash, state.fields_hash, state.format, state.cut)
        return have == tuple(lineage.get(name, False) for name in wanted)


class VectorWriter(VectorRemover):
    """Writes to a store; with a lease, over nothing that a newer holder of it has written.

    Args:
        store: Where to.
        lease: Held for as long as there is something to write.
        drops_rescore: Remove the finer field that an earlier format kept.
        carried_before: Paths that an earlier setting of `carry` or `layout` has left in documents.

    Attributes:
        clipped: Values so far that were out of the range of int8.
        aside: Chunks so far that could not be written, each with the reason: the beginning of
            their text, and nothing that they carry.
    """

    def __init__(
        self,
        store: VectorStore,
        lease: Lease | None = None,
        *,
        drops_rescore: bool = False,
        carried_before: Sequence[str] = (),
    ) -> None:
        super().__init__(store, lease, drops_rescore=drops_rescore)
        self.clipped = 0
        self.aside: list[tuple[Chunk, str]] = []
        self._owned = {path.split(".")[0] for path in (*store.owned, *carried_before)}

    def write(self, rows: Sequence[Row]) -> int:
        """Store vectors with their lineage, in unordered bulk writes.

        Args:
            rows: Chunk, vector as the provider returned it, lineage.

        Returns:
            How many chunks were written; the others vanished meanwhile, or stand `aside`.

        Raises:
            DeploymentError: The server takes no writes.
            LeaseError: Another run has taken the pipeline over.
        """
        store, stored_as = self._store, self._store.format
        if not rows:
            return 0
        main, fine, clipped = stored_as.fields(np.stack([vector for _, vector, _ in rows]))
        self.clipped += clipped
        changes: list[_Change] = []
        for row, (chunk, _, lineage) in enumerate(rows):
            values: dict[str, Any] = {store.path: to_bson(main[row], stored_as.dtype)}
            if fine is not None and stored_as.rescore:
                values[store.rescore_path] = to_bson(fine[row], stored_as.rescore)
            values[store.lineage_path] = made = self._lineage(chunk, lineage)
            changes.append(_Change(chunk, values, self._fields(chunk, made), vector=True))
        return self._settled(changes)

    def refresh(self, chunks: Sequence[Chunk]) -> int:
        """Write carried fields and a chunker that changed; vectors stay."""
        lineage, chunker = self._store.lineage_path, self._store.chunker
        token = {f"{lineage}.token": self._lease.token} if self._lease else {}
        named = {f"{lineage}.chunker": chunker} if chunker else {}
        gone = () if chunker else (f"{lineage}.chunker",)
        made = self._made(chunks)
        return self._settled(
            [
                _Change(
                    chunk,
                    {f"{lineage}.fields_hash": chunk.fields_hash, **named, **token},
                    self._fields(chunk, made.get(key(chunk.id), {})),
                    vector=False,
                    gone=gone,
                )
                for chunk in chunks
            ]
        )

    def _made(self, chunks: Sequence[Chunk]) -> dict[str, Mapping[str, Any]]:
        """The lineage of stored vectors, by key, where fields are laid out with it."""
        store = self._store
        if store.layout != "llamaindex":
            return {}
        found = store.documents([chunk.id for chunk in chunks], [SOURCE_FIELD])
        return {name: store.lineage(document) or {} for name, document in found.items()}

    def _fields(self, chunk: Chunk, lineage: Mapping[str, Any]) -> Mapping[str, Any]:
        store = self._store
        return laid_out(store.layout, chunk, lineage, store.lineage_path)

    def _settled(self, wanted: list["_Change"]) -> int:
        """Write all that may be written; what others change meanwhile is looked at anew."""
        written, store = 0, self._store
        for attempt in range(ROUNDS):
            if not wanted:
                break
            ready, writes = self._prepared(wanted, suspicious=attempt > 0)
            if not writes:
                return written
            self._check()
            outcome = write_all(self._collection, writes)
            self._take_back_late(ready, writes)
            for at, reason in outcome.refused.items():
                self._set_aside(ready[at].chunk, reason)
            written += outcome.written
            if outcome.written + len(outcome.refused) == len(writes):
                return written
            self._check_overtaken()
            states = store.stored([change.chunk.id for change in ready])
            wanted = [
                change
                for at, change in enumerate(ready)
                if at not in outcome.refused
                and not change.is_done(states.get(key(change.chunk.id)), store)
            ]
        return written

    def _set_aside(self, chunk: Chunk, reason: str) -> None:
        # Kept until the end of the run, however many there are.
        short = dataclasses.replace(chunk, text=chunk.text[:EXCERPT_LENGTH], fields={})
        self.aside.append((short, reason))

    def _take_back_late(self, ready: list["_Change"], writes: list[Write]) -> None:
        """An insert has no fence: one that was sent late is taken back.

        Raises:
            LeaseError: Another run has taken the pipeline over.
        """
        made = [
            change.chunk.id
            for change, write in zip(ready, writes, strict=True)
            if isinstance(write, InsertOne)
        ]
        if made and self._lease and self._lease.overtaken():
            late = {f"{self._store.lineage_path}.token": self._lease.token}
            self._collection.delete_many({"_id": {"$in": made}, **self._store.mine, **late})
            raise self._lease.stale()

    def _prepared(
        self, wanted: list["_Change"], *, suspicious: bool
    ) -> tuple[list["_Change"], list[Write]]:
        """The changes that may be made, and their writes; the others go `aside`.

        Where we are to write into documents that are there, the filters of the updates say whose
        they are; only if one finds nothing is it looked at why.
        """
        store = self._store
        ids = [change.chunk.id for change in wanted]
        makes = not store.in_place
        states = store.stored(ids) if suspicious or (makes and wanted[0].vector) else {}
        shared = store.occupants(ids) if suspicious and makes else {}
        served = store.served(ids) if makes else {}
        ready: list[_Change] = []
        writes: list[Write] = []
        for change in wanted:
            state, there = states.get(key(change.chunk.id)), shared.get(key(change.chunk.id))
            reason = store.why_not(change.chunk, state) if state else ""
            if state is not None and state.occupant is not None:
                there = state.occupant
            elif there is not None and not reason:
                reason = store.why_not_shared(change.chunk, there)
            if reason:
                self._set_aside(change.chunk, reason)
                continue
            ready.append(change)
            # An insert costs the server half of an upsert.
            if state is None and makes and change.vector:
                writes.append(InsertOne(self._document(change)))
            else:
                writes.append(self._update(change, there, served.get(key(change.chunk.id))))
        return ready, writes

    def _update(
        self, change: "_Change", there: Occupant | None, served: tuple[str | None, str] | None
    ) -> UpdateOne:
        store, chunk = self._store, change.chunk
        update: dict[str, Any] = {"$set": self._noted(change, served)}
        found, gone = self._free(chunk.id), [*change.gone]
        if not change.vector:
            found = {**self._fenced(chunk.id), **store.mine}
        if not store.in_place and served is None:
            if store.beside:  # unless the space that serves has come there since
                found[f"{store.beside}.space"] = None
            update["$set"] |= {TEXT_FIELD: chunk.text, SOURCE_FIELD: chunk.source_id}
            # Whole fields, so that one which changed its shape, or lost a part, is as it is now.
            update["$set"] |= change.fields
            if there is None or there.pipelines <= {store.pipeline}:
                gone += [name for name in self._owned if name not in change.fields]
            if there is None:  # else it has been looked at
                mine = {INSERTED_FIELD: store.pipeline}
                found["$and"] = [{"$or": [mine, only_lineage(store.lineage_path)]}]
        if self._drops_rescore:
            gone.append(store.rescore_path)
        if gone:
            update["$unset"] = dict.fromkeys(gone, "")
        return UpdateOne(found, update)

    def _noted(self, change: "_Change", served: tuple[str | None, str] | None) -> dict[str, Any]:
        """The vector with its lineage, which says where text and fields are not the chunk's own."""
        chunk, lineage = change.chunk, self._store.lineage_path
        if served in (None, (chunk.text_hash, chunk.fields_hash)):
            return dict(change.values)
        if not change.vector:
            return {**change.values, f"{lineage}.fields_hash": UNWRITTEN}
        return {**change.values, lineage: {**change.values[lineage], "fields_hash": UNWRITTEN}}

    def mark(self, paths: Sequence[str] = ()) -> int:
        """Say of documents stored before there was a mark that they are ours, where they are.

        Those that hold nothing but what we write; of others only our paths ever go.

        Args:
            paths: What else of a document is ours: vectors and lineages at other paths.
        """
        store = self._store
        if store.in_place:
            return 0
        self._check()
        ours = ["_id", TEXT_FIELD, SOURCE_FIELD, store.path, store.lineage_path, store.rescore_path]
        nothing_else = nothing_but([*ours, INSERTED_FIELD, *self._owned, *paths])
        unmarked = {**store.mine, INSERTED_FIELD: {"$exists": False}, **nothing_else}
        mark = {"$set": {INSERTED_FIELD: store.pipeline}}
        return self._collection.update_many(unmarked, mark).modified_count

    def _lineage(self, chunk: Chunk, lineage: Lineage) -> dict[str, Any]:
        chunker = self._store.chunker
        return {
            "space": lineage.space_id,
            "model": lineage.model,
            "text_hash": lineage.text_hash,
            "fields_hash": chunk.fields_hash,
            "batch": lineage.batch,
            "run": lineage.run,
            "at": lineage.at,
            "pipeline": self._store.pipeline,
            "stored_as": str(self._store.format),
            **({"chunker": chunker} if chunker else {}),
            **({"cut": True} if lineage.cut else {}),
            **({"token": self._lease.token} if self._lease else {}),
        }

    def _document(self, change: "_Change") -> dict[str, Any]:
        chunk = change.chunk
        document = {"_id": chunk.id, SOURCE_FIELD: chunk.source_id, TEXT_FIELD: chunk.text}
        document |= change.fields
        for path, value in change.values.items():
            put(document, path, value)
        document[INSERTED_FIELD] = self._store.pipeline
        return document

    def _free(self, chunk_id: Any) -> dict[str, Any]:
        """Finds a document in which our path is this pipeline's, or nobody's."""
        store = self._store
        owner = f"{store.lineage_path}.pipeline"
        nobody: dict[str, Any] = {f"{store.lineage_path}.space": None}
        if not store.adopt:
            nobody[store.path] = None
        return {**self._fenced(chunk_id), "$or": [{owner: store.pipeline}, nobody]}
