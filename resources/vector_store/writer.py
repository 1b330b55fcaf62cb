"""Writing vectors with their lineage, refreshing what is carried along, removing what vanished."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from resources.chunks import Chunk, encode
from resources.errors import DeploymentError
from resources.lease import Lease
from resources.sources.fields import MISSING, lookup
from resources.sources.fields import store as put
from resources.vector_store.formats import to_bson
from resources.vector_store.lineage import Lineage
from resources.vector_store.store import SOURCE_FIELD, TEXT_FIELD, VectorStore

DUPLICATE_KEY = 11000
TOO_LARGE = {10334, 17419, 17420}
"""BSONObjectTooLarge, and an update whose result is."""


class _TakenMeanwhile(Exception):
    """A document to insert was there already, since a moment ago."""


class VectorWriter:
    """Writes to a store; with a lease, over nothing that a newer holder of it has written.

    Args:
        store: Where to.
        lease: Held for as long as there is something to write.
        drops_rescore: Remove the finer field that an earlier format kept.

    Attributes:
        clipped: Values so far that were out of the range of int8.
        too_large: Chunks so far whose document has no room for their vector.
    """

    def __init__(
        self, store: VectorStore, lease: Lease | None = None, *, drops_rescore: bool = False
    ) -> None:
        self.clipped = 0
        self.too_large: list[Chunk] = []
        self._store, self._collection, self._lease = store, store.collection, lease
        self._drops_rescore = drops_rescore

    def write(self, rows: Sequence[tuple[Chunk, np.ndarray, Lineage]]) -> int:
        """Store vectors with their lineage, in one unordered bulk write.

        Args:
            rows: Chunk, vector as the provider returned it, lineage.

        Returns:
            How many chunks were written; fewer than given where documents vanished meanwhile.

        Raises:
            DeploymentError: The server refuses some of them.
            LeaseError: Another run has taken the pipeline over.
        """
        if not rows:
            return 0
        store, stored_as = self._store, self._store.format
        main, fine, clipped = stored_as.fields(np.stack([vector for _, vector, _ in rows]))
        self.clipped += clipped
        wanted: list[tuple[Chunk, dict[str, Any]]] = []
        for row, (chunk, _, lineage) in enumerate(rows):
            values: dict[str, Any] = {store.path: to_bson(main[row], stored_as.dtype)}
            if fine is not None and stored_as.rescore:
                values[store.rescore_path] = to_bson(fine[row], stored_as.rescore)
            values[store.lineage_path] = self._lineage(chunk, lineage)
            wanted.append((chunk, values))
        if store.in_place:
            return self._bulk(
                [self._in_place(chunk, values) for chunk, values in wanted],
                [chunk for chunk, _ in wanted],
            )
        ids = {"_id": {"$in": [chunk.id for chunk, _ in wanted]}}
        there = {encode(found["_id"]) for found in self._collection.find(ids, {"_id": 1})}
        try:
            # An insert costs the server half of an upsert.
            return self._bulk(
                [
                    self._replace(chunk, values)
                    if encode(chunk.id) in there
                    else InsertOne(self._document(chunk, values))
                    for chunk, values in wanted
                ]
            )
        except _TakenMeanwhile:
            return self._bulk([self._replace(chunk, values) for chunk, values in wanted])

    def refresh(self, chunks: Sequence[Chunk]) -> int:
        """Write carried fields and a chunker that changed; vectors stay."""
        lineage, chunker = self._store.lineage_path, self._store.chunker
        return self._bulk(
            [
                self._carry(
                    chunk,
                    {
                        f"{lineage}.fields_hash": chunk.fields_hash,
                        **({f"{lineage}.chunker": chunker} if chunker else {}),
                        **({f"{lineage}.token": self._lease.token} if self._lease else {}),
                    },
                    gone=() if chunker else (f"{lineage}.chunker",),
                )
                for chunk in chunks
            ]
        )

    def delete(self, ids: Sequence[Any]) -> int:
        """Remove the vectors of chunks whose source vanished; only this pipeline's own."""
        if self._lease:
            self._lease.check()
        store = self._store
        mine = {**self._fenced({"$in": list(ids)}), **store.mine}
        if not store.in_place:
            return self._collection.delete_many(mine).deleted_count
        paths = [store.path, store.lineage_path]
        if store.format.rescore or self._drops_rescore:
            paths.append(store.rescore_path)
        gone = {"$unset": dict.fromkeys(paths, "")}
        return self._collection.update_many(mine, gone).modified_count

    def distrust(self, ids: Sequence[Any]) -> int:
        """Forget which text the vectors are of, so that the next run writes them anew."""
        if self._lease:
            self._lease.check()
        mine = {**self._fenced({"$in": list(ids)}), **self._store.mine}
        change = {"$unset": {f"{self._store.lineage_path}.text_hash": ""}}
        return self._collection.update_many(mine, change).modified_count

    def _lineage(self, chunk: Chunk, lineage: Lineage) -> dict[str, Any]:
        chunker = self._store.chunker
        return {
            "space": lineage.space,
            "model": lineage.model,
            "text_hash": lineage.text_hash,
            "fields_hash": chunk.fields_hash,
            "batch": lineage.batch,
            "run": lineage.run,
            "at": lineage.at,
            "pipeline": self._store.pipeline,
            "stored_as": str(self._store.format),
            **({"chunker": chunker} if chunker else {}),
            **({"token": self._lease.token} if self._lease else {}),
        }

    def _in_place(self, chunk: Chunk, values: dict[str, Any]) -> UpdateOne:
        update: dict[str, Any] = {"$set": values}
        if self._drops_rescore:
            update["$unset"] = {self._store.rescore_path: ""}
        return UpdateOne(self._fenced(chunk.id), update)

    def _replace(self, chunk: Chunk, values: dict[str, Any]) -> UpdateOne:
        own = {TEXT_FIELD: chunk.text, SOURCE_FIELD: chunk.source_id}
        return self._carry(chunk, {**values, **own}, upsert=True)

    def _document(self, chunk: Chunk, values: dict[str, Any]) -> dict[str, Any]:
        """What `_replace` makes where nothing is."""
        document = {"_id": chunk.id, SOURCE_FIELD: chunk.source_id, TEXT_FIELD: chunk.text}
        document |= chunk.fields
        for path, value in values.items():
            put(document, path, value)
        return document

    def _carry(
        self,
        chunk: Chunk,
        values: dict[str, Any],
        *,
        upsert: bool = False,
        gone: Sequence[str] = (),
    ) -> UpdateOne:
        carried = {path: lookup(chunk.fields, path) for path in self._store.carried}
        roots = {path.split(".")[0] for path in carried}
        update: dict[str, Any] = {
            "$set": {
                **values,
                # what the source adds by itself, such as the path of a file
                **{name: value for name, value in chunk.fields.items() if name not in roots},
                **{path: value for path, value in carried.items() if value is not MISSING},
            }
        }
        gone = [*gone, *(path for path, value in carried.items() if value is MISSING)]
        if self._drops_rescore:
            gone.append(self._store.rescore_path)
        if gone:
            update["$unset"] = dict.fromkeys(gone, "")
        return UpdateOne(self._fenced(chunk.id), update, upsert=upsert)

    def _fenced(self, chunk_id: Any) -> dict[str, Any]:
        """Finds a chunk, unless a newer holder of the pipeline's lease has written it."""
        if self._lease is None:
            return {"_id": chunk_id}
        token = f"{self._store.lineage_path}.token"
        return {"_id": chunk_id, token: {"$not": {"$gt": self._lease.token}}}

    def _bulk(self, writes: Sequence[UpdateOne | InsertOne], in_place: Sequence[Chunk] = ()) -> int:
        """How many were written; of documents in place those that are too large are set aside."""
        if not writes:
            return 0
        if self._lease:
            self._lease.check()
        try:
            result = self._collection.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            refused = error.details.get("writeErrors", [])
            if in_place and {entry["code"] for entry in refused} <= TOO_LARGE:
                self.too_large += [in_place[entry["index"]] for entry in refused]
                return error.details["nMatched"]
            # A document that the fence does not let through would be inserted anew.
            if {entry["code"] for entry in refused} == {DUPLICATE_KEY}:
                if self._lease and self._lease.overtaken():
                    raise self._lease.stale() from error
                if any(isinstance(write, InsertOne) for write in writes):
                    raise _TakenMeanwhile from error
            first = refused[0].get("errmsg") if refused else error
            raise DeploymentError(
                f"{self._collection.full_name} refused {len(refused)} of {len(writes)} writes, "
                f"the first: {first}"
            ) from error
        written = result.inserted_count + result.matched_count + result.upserted_count
        if written < len(writes) and self._lease and self._lease.overtaken():
            raise self._lease.stale()
        return written
