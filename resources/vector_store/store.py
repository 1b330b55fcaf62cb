"""Vectors of one pipeline in one collection: read, written, counted."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymongo import InsertOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from resources.chunks import Chunk, encode
from resources.errors import DeploymentError
from resources.lease import Lease
from resources.sources.fields import MISSING, lookup, without_nested
from resources.sources.fields import store as put
from resources.vector_store.formats import (
    Dtype,
    Element,
    VectorFormat,
    dtype_of,
    element_of,
    from_bson,
    to_bson,
)
from resources.vector_store.lineage import Lineage

DUPLICATE_KEY = 11000
TEXT_FIELD, SOURCE_FIELD = "text", "source_id"


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the store says of one chunk: enough to decide whether anything is to be done."""

    space: str | None
    text_hash: str | None
    fields_hash: str | None
    format: str | None
    chunker: str | None


@dataclass(frozen=True, slots=True)
class Examined:
    """A stored vector as it is, sound or not.

    Attributes:
        dtype: Of what stands at the vector's path; None where that is no vector.
        vector: None where it cannot be read.
    """

    id: Any
    text_hash: str
    batch: str | None
    stored_as: str
    dtype: Dtype | None
    vector: np.ndarray | None


@dataclass(frozen=True, slots=True)
class StoredVector:
    id: Any
    vector: np.ndarray
    fields: Mapping[str, Any]


class _TakenMeanwhile(Exception):
    """A document to insert was there already, since a moment ago."""


class VectorStore:
    """Reads and writes vectors of one pipeline at one path of one collection."""

    def __init__(
        self,
        collection: Collection,
        *,
        path: str,
        lineage_path: str,
        rescore_path: str,
        format: VectorFormat,  # noqa: A002
        in_place: bool,
        carried: tuple[str, ...],
        pipeline: str,
        chunker: str | None = None,
        lease: Lease | None = None,
    ) -> None:
        self.collection = collection
        self.path = path
        self.lineage_path = lineage_path
        self.rescore_path = rescore_path
        self.format = format
        self.clipped = 0
        self.drops_rescore = False
        self.in_place = in_place
        self._carried = carried
        self._pipeline = pipeline
        self._chunker = chunker
        self._lease = lease
        self._mine = {f"{lineage_path}.pipeline": pipeline}

    @property
    def key(self) -> str:
        """The store's name in the registry: `database.collection:path`."""
        return f"{self.collection.full_name}:{self.path}"

    @property
    def dtype(self) -> Dtype:
        """Of the indexed field."""
        return self.format.dtype

    @property
    def element(self) -> Element:
        """What the indexed field's values are compared as."""
        return element_of(self.format.dtype)

    @property
    def keeps_all(self) -> bool:
        """Whether the vectors that the provider returned can be had back from here."""
        return self.format.element in (self.element, self.format.rescore)

    def prepare(self) -> None:
        """Create the index that finds a vector by its text, and counts spaces.

        Source: a compound index also serves queries on its prefix (MongoDB manual).
        """
        self.collection.create_index(
            [(f"{self.lineage_path}.space", 1), (f"{self.lineage_path}.text_hash", 1)],
            name=f"{self.lineage_path}_space_text",
        )

    def stored(self, ids: Sequence[Any]) -> dict[str, StoredState]:
        """State of the chunks that have a vector, by encoded id; one command."""
        lineage = self.lineage_path
        names = ("space", "text_hash", "fields_hash", "stored_as", "chunker")
        wanted = [f"{lineage}.{name}" for name in names]
        cursor = self.collection.find(
            {"_id": {"$in": list(ids)}}, dict.fromkeys(wanted, 1), batch_size=len(ids) + 1
        )
        states = {}
        for document in cursor:
            found = _at(document, lineage)
            if isinstance(found, Mapping):
                # Before there was a choice, every vector was stored as float32.
                found = {"stored_as": "float32", **found}
                states[encode(document["_id"])] = StoredState(*map(found.get, names))
        return states

    def known_texts(self, space: str, text_hashes: Sequence[str]) -> set[str]:
        """Which of the texts have a vector of this space here, as the provider returned it."""
        if not self.keeps_all:
            return set()
        name = f"{self.lineage_path}.text_hash"
        cursor = self.collection.find(self._by_text(space, text_hashes), {name: 1, "_id": 0})
        return {_at(document, name) for document in cursor}

    def by_text(
        self, space: str, text_hashes: Sequence[str]
    ) -> dict[str, tuple[np.ndarray, Lineage]]:
        """Vectors, as the provider returned them, and their lineage by text hash."""
        path = self.path if self.element == self.format.element else self.rescore_path
        cursor = self.collection.find(
            self._by_text(space, text_hashes), {path: 1, self.lineage_path: 1, "_id": 0}
        )
        found = {}
        for document in cursor:
            lineage = _at(document, self.lineage_path)
            names = ("space", "model", "text_hash", "batch", "run", "at")
            vector = from_bson(_at(document, path))
            found[lineage["text_hash"]] = (vector, Lineage(*(lineage[name] for name in names)))
        return found

    def _by_text(self, space: str, text_hashes: Sequence[str]) -> dict[str, Any]:
        lineage = self.lineage_path
        return {
            f"{lineage}.space": space,
            f"{lineage}.text_hash": {"$in": list(text_hashes)},
            f"{lineage}.stored_as": {"$in": _names(self.format)},
            self.path: {"$exists": True},
        }

    def write(self, rows: Sequence[tuple[Chunk, np.ndarray, Lineage]]) -> int:
        """Store vectors with their lineage, in one unordered bulk write.

        Args:
            rows: Chunk, vector as the provider returned it, lineage.

        Returns:
            How many chunks were written; fewer than given where documents vanished meanwhile.
        """
        if not rows:
            return 0
        main, fine, clipped = self.format.fields(np.stack([vector for _, vector, _ in rows]))
        self.clipped += clipped
        wanted: list[tuple[Chunk, dict[str, Any]]] = []
        for row, (chunk, _, lineage) in enumerate(rows):
            values: dict[str, Any] = {self.path: to_bson(main[row], self.format.dtype)}
            if fine is not None and self.format.rescore:
                values[self.rescore_path] = to_bson(fine[row], self.format.rescore)
            values[self.lineage_path] = self._lineage(chunk, lineage)
            wanted.append((chunk, values))
        if self.in_place:
            return self._bulk([self._in_place(chunk, values) for chunk, values in wanted])
        ids = {"_id": {"$in": [chunk.id for chunk, _ in wanted]}}
        there = {encode(found["_id"]) for found in self.collection.find(ids, {"_id": 1})}
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
        lineage = self.lineage_path
        return self._bulk(
            [
                self._carry(
                    chunk,
                    {
                        f"{lineage}.fields_hash": chunk.fields_hash,
                        **({f"{lineage}.chunker": self._chunker} if self._chunker else {}),
                        **({f"{lineage}.token": self._lease.token} if self._lease else {}),
                    },
                    gone=() if self._chunker else (f"{lineage}.chunker",),
                )
                for chunk in chunks
            ]
        )

    def _lineage(self, chunk: Chunk, lineage: Lineage) -> dict[str, Any]:
        return {
            "space": lineage.space,
            "model": lineage.model,
            "text_hash": lineage.text_hash,
            "fields_hash": chunk.fields_hash,
            "batch": lineage.batch,
            "run": lineage.run,
            "at": lineage.at,
            "pipeline": self._pipeline,
            "stored_as": str(self.format),
            **({"chunker": self._chunker} if self._chunker else {}),
            **({"token": self._lease.token} if self._lease else {}),
        }

    def _in_place(self, chunk: Chunk, values: dict[str, Any]) -> UpdateOne:
        update: dict[str, Any] = {"$set": values}
        if self.drops_rescore:
            update["$unset"] = {self.rescore_path: ""}
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
        carried = {path: lookup(chunk.fields, path) for path in self._carried}
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
        if self.drops_rescore:
            gone.append(self.rescore_path)
        if gone:
            update["$unset"] = dict.fromkeys(gone, "")
        return UpdateOne(self._fenced(chunk.id), update, upsert=upsert)

    def _fenced(self, chunk_id: Any) -> dict[str, Any]:
        """Finds a chunk, unless a newer holder of the pipeline's lease has written it."""
        if self._lease is None:
            return {"_id": chunk_id}
        return {"_id": chunk_id, f"{self.lineage_path}.token": {"$not": {"$gt": self._lease.token}}}

    def _bulk(self, writes: Sequence[UpdateOne | InsertOne]) -> int:
        if not writes:
            return 0
        if self._lease:
            self._lease.check()
        try:
            result = self.collection.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            # A document that the filter does not find would be inserted anew.
            codes = {entry["code"] for entry in error.details.get("writeErrors", [])}
            if codes == {DUPLICATE_KEY}:
                if self._lease and self._lease.overtaken():
                    raise self._lease.stale() from error
                if any(isinstance(write, InsertOne) for write in writes):
                    raise _TakenMeanwhile from error
            first = error.details["writeErrors"][0] if error.details.get("writeErrors") else {}
            raise DeploymentError(
                f"{self.collection.full_name} refused {len(error.details['writeErrors'])} of "
                f"{len(writes)} writes, the first: {first.get('errmsg', error)}"
            ) from error
        written = result.inserted_count + result.matched_count + result.upserted_count
        if written < len(writes) and self._lease and self._lease.overtaken():
            raise self._lease.stale()
        return written

    def delete(self, ids: Sequence[Any]) -> int:
        """Remove the vectors of chunks whose source vanished; only this pipeline's own."""
        if self._lease:
            self._lease.check()
        mine = {**self._fenced({"$in": list(ids)}), **self._mine}
        if not self.in_place:
            return self.collection.delete_many(mine).deleted_count
        paths = [self.path, self.lineage_path]
        if self.format.rescore or self.drops_rescore:
            paths.append(self.rescore_path)
        gone = {"$unset": dict.fromkeys(paths, "")}
        return self.collection.update_many(mine, gone).modified_count

    def ids(self, batch_size: int = 5_000) -> Iterator[tuple[Any, Any]]:
        """Ids of all chunks of this pipeline that have a vector, and of their source documents."""
        wanted = {"_id": 1} if self.in_place else {"_id": 1, SOURCE_FIELD: 1}
        cursor = self.collection.find(self._mine, wanted, batch_size=batch_size)
        return ((found["_id"], found.get(SOURCE_FIELD, found["_id"])) for found in cursor)

    def count(self) -> int:
        """Chunks of this pipeline that have a vector."""
        return self.collection.count_documents(self._mine)

    def count_space(self, space: str) -> int:
        """Vectors of one space at this path, whichever pipeline made them."""
        return self.collection.count_documents({f"{self.lineage_path}.space": space})

    def spaces(self) -> list[str]:
        """Ids of the spaces of all vectors at this path, whichever pipeline made them."""
        found = self.collection.distinct(f"{self.lineage_path}.space")
        return [name for name in found if name is not None]

    def count_by_model(self) -> list[dict[str, Any]]:
        """Vectors of this path by space and model: `{space, model, vectors, first, last}`."""
        lineage = f"${self.lineage_path}"
        stages = [
            {"$match": {f"{self.lineage_path}.space": {"$exists": True}}},
            {
                "$group": {
                    "_id": {"space": f"{lineage}.space", "model": f"{lineage}.model"},
                    "vectors": {"$sum": 1},
                    "first": {"$min": f"{lineage}.at"},
                    "last": {"$max": f"{lineage}.at"},
                }
            },
            {"$sort": {"vectors": -1}},
        ]
        rows = self.collection.aggregate(stages)
        return [
            {**row["_id"], **{name: row[name] for name in ("vectors", "first", "last")}}
            for row in rows
        ]

    def without_lineage(self) -> int:
        """Documents that have something at the vector's path but no lineage."""
        return self.collection.count_documents(
            {self.path: {"$exists": True}, f"{self.lineage_path}.space": {"$exists": False}}
        )

    def examined(self, space: str, text_hashes: Sequence[str]) -> Iterator[Examined]:
        """This pipeline's vectors of some texts, whatever state they are in."""
        lineage = self.lineage_path
        wanted = {
            f"{lineage}.space": space,
            f"{lineage}.text_hash": {"$in": list(text_hashes)},
            **self._mine,
        }
        for document in self.collection.find(wanted, {self.path: 1, lineage: 1}):
            found, value = _at(document, lineage), _at(document, self.path)
            try:
                dtype = dtype_of(value)
                vector = None if dtype is None else from_bson(value)
            except (ValueError, TypeError):
                dtype, vector = None, None
            yield Examined(
                document["_id"],
                found["text_hash"],
                found.get("batch"),
                found.get("stored_as", "float32"),
                dtype,
                vector,
            )

    def distrust(self, ids: Sequence[Any]) -> int:
        """Forget which text the vectors are of, so that the next run writes them anew."""
        if self._lease:
            self._lease.check()
        mine = {"_id": {"$in": list(ids)}, **self._mine}
        change = {"$unset": {f"{self.lineage_path}.text_hash": ""}}
        return self.collection.update_many(mine, change).modified_count

    def vectors(
        self, space: str, fields: Sequence[str], batch_size: int = 1_000
    ) -> Iterator[list[StoredVector]]:
        """All vectors of one space with some fields, streamed in batches."""
        projection = dict.fromkeys(without_nested([self.path, *fields]), 1)
        cursor = self.collection.find(
            {f"{self.lineage_path}.space": space}, projection, batch_size=batch_size
        )
        rows: list[StoredVector] = []
        for document in cursor:
            try:
                vector = from_bson(_at(document, self.path))
            except ValueError as error:
                raise DeploymentError(
                    f"{self.collection.full_name}, _id {document['_id']!r} has a lineage, but at "
                    f"{self.path} {error}: somebody has changed it; "
                    f"`embeddings audit {self._pipeline} --repair` writes it anew"
                ) from error
            rows.append(StoredVector(document["_id"], vector, document))
            if len(rows) == batch_size:
                yield rows
                rows = []
        if rows:
            yield rows

    def fine_vectors(self, ids: Sequence[Any]) -> dict[str, np.ndarray]:
        """Vectors of the finer field, by encoded id."""
        cursor = self.collection.find({"_id": {"$in": list(ids)}}, {self.rescore_path: 1})
        found = ((document["_id"], _at(document, self.rescore_path)) for document in cursor)
        return {encode(key): from_bson(value) for key, value in found if value is not None}

    def documents(
        self, ids: Sequence[Any], fields: Sequence[str] = ()
    ) -> dict[str, dict[str, Any]]:
        """Documents without their vectors, by encoded id: some fields with the lineage, or all."""
        projection = dict.fromkeys([self.path, self.rescore_path], 0)
        if fields:
            projection = dict.fromkeys(without_nested([*fields, self.lineage_path]), 1)
        cursor = self.collection.find({"_id": {"$in": list(ids)}}, projection)
        return {encode(document["_id"]): document for document in cursor}

    def lineage(self, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found = _at(document, self.lineage_path)
        return found if isinstance(found, Mapping) else None


def _names(format: VectorFormat) -> list[str | None]:  # noqa: A002
    """What the lineage says of vectors in this format; nothing, before there was a choice."""
    name = str(format)
    return [name, None] if name == "float32" else [name]


def _at(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
