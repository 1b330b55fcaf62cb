"""The resource `vector_store`: the collection and path of the vectors, and their lineage."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator
from pymongo import MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from resources.chunks import Chunk, encode
from resources.config import StrictResource
from resources.embedders.space import EmbeddingSpace
from resources.errors import ConfigurationError, DeploymentError
from resources.sources.collection import CollectionOrigin
from resources.sources.fields import MISSING, lookup
from resources.sources.resource import SourceResource
from resources.vector_formats import Dtype, Element, convert, element_of, from_bson, to_bson

TEXT_FIELD, SOURCE_FIELD = "text", "source_id"


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the store says of one chunk: enough to decide whether anything is to be done."""

    space: str | None
    text_hash: str | None
    fields_hash: str | None
    format: str | None


@dataclass(frozen=True, slots=True)
class VectorFormat:
    """How vectors of one space are stored.

    Attributes:
        element: What the provider returns.
        dtype: Of the indexed field.
        rescore: Of the second, finer field that is not indexed, if there is one.
        scale: Brings float32 to int8, one factor for the whole space; None until it is fixed.
    """

    element: Element
    dtype: Dtype
    rescore: Literal["int8", "float32"] | None = None
    scale: float | None = None

    def __str__(self) -> str:
        return f"{self.dtype}, rescored by {self.rescore}" if self.rescore else self.dtype

    @property
    def needs_scale(self) -> bool:
        return self.element == "float32" and "int8" in (self.dtype, self.rescore)

    def fields(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, int]:
        """What is stored of some vectors.

        Args:
            vectors: Of the space's element, shape (n, columns).

        Returns:
            Values of the indexed field, of the finer field, and how many values were clipped.
        """
        to = element_of(self.dtype)
        main, clipped = convert(vectors, self.element, to, scale=self.scale)
        if self.rescore is None:
            return main, None, clipped
        fine, more = convert(vectors, self.element, self.rescore, scale=self.scale)
        return main, fine, clipped + more


@dataclass(frozen=True, slots=True)
class Lineage:
    """Who made a vector.

    Attributes:
        space: Id of the embedding space.
        model: The model that embedded it, a member of the space's family.
        text_hash: SHA-256 of the embedded text, hex.
        batch: The embedding batch it was made in.
        run: The Dagster run that made it.
        at: When it was made.
    """

    space: str
    model: str
    text_hash: str
    batch: str
    run: str
    at: datetime


@dataclass(frozen=True, slots=True)
class StoredVector:
    id: Any
    vector: np.ndarray
    fields: Mapping[str, Any]


class VectorStoreResource(StrictResource):
    """The collection and path that hold the vectors, and how much a run may delete there."""

    database: str | None = Field(
        default=None, description="Default: the source's own, for vectors in place."
    )
    collection: str | None = Field(
        default=None, description="Default: the source's own, for vectors in place."
    )
    in_place: bool = Field(
        default=False, description="Write vectors into the source documents, by `_id`."
    )
    path: str = Field(
        default="embedding", min_length=1, description="Field of the vector; dots are allowed."
    )
    dtype: Literal["auto", "float32", "int8", "packed_bit", "array"] = Field(
        default="auto",
        description="Of the stored field: a BSON binData vector, or an array of doubles for "
        "readers that know no binData. auto: as the provider returns it.",
    )
    rescore: Literal["none", "int8", "float32"] = Field(
        default="none",
        description="Keep a second, finer field beside an int8 or packed_bit one, not indexed; "
        "searches rank their candidates anew by it.",
    )
    max_delete_fraction: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Stop instead of deleting more than this share of the stored vectors.",
    )
    allow_delete: bool = Field(
        default=False, description="Delete however many source documents have vanished."
    )

    @field_validator("path")
    @classmethod
    def _no_reserved_path(cls, path: str) -> str:
        root = path.split(".")[0]
        if root in {"_id", TEXT_FIELD, SOURCE_FIELD} or path.startswith("$") or ".." in path:
            raise ValueError(f"path {path!r} is taken: choose a field of its own, e.g. embedding")
        return path

    @property
    def lineage_path(self) -> str:
        """Where a vector's lineage lies: `embedding_lineage` for the path `embedding`."""
        root, *rest = self.path.split(".")
        return ".".join([f"{root}_lineage", *rest])

    @property
    def rescore_path(self) -> str:
        """Where the finer vector lies: `embedding_rescore` for the path `embedding`."""
        root, *rest = self.path.split(".")
        return ".".join([f"{root}_rescore", *rest])

    def format(self, space: EmbeddingSpace) -> VectorFormat:
        """How vectors of a space are stored here.

        Raises:
            ConfigurationError: They cannot be: finer than the provider returns them, or a rescore
                field that is no finer than the indexed one.
        """
        dtype: Dtype = space.element if self.dtype == "auto" else self.dtype
        fineness: list[Element] = ["packed_bit", "int8", "float32"]
        if fineness.index(element_of(dtype)) > fineness.index(space.element):
            raise ConfigurationError(
                f"vector_store has `dtype: {dtype}`, but the embedder returns {space.element}: "
                "choose `dtype: auto`, or let the provider return floats"
            )
        if self.rescore == "none":
            return VectorFormat(space.element, dtype)
        if fineness.index(self.rescore) > fineness.index(space.element):
            raise ConfigurationError(
                f"vector_store has `rescore: {self.rescore}`, but the embedder returns "
                f"{space.element}: let the provider return floats, or remove `rescore`"
            )
        if fineness.index(self.rescore) <= fineness.index(element_of(dtype)):
            raise ConfigurationError(
                f"vector_store has `rescore: {self.rescore}`, which is no finer than `dtype: "
                f"{dtype}`: remove it, or choose a coarser dtype"
            )
        return VectorFormat(space.element, dtype, self.rescore)

    def namespace(self, source: SourceResource) -> tuple[str, str]:
        """Database and collection.

        Raises:
            ConfigurationError: They are missing, or contradict the source.
        """
        origin = source.origin
        if not self.in_place:
            if not self.database or not self.collection:
                raise ConfigurationError(
                    "vector_store needs `database` and `collection`, or `in_place: true` for "
                    "vectors beside the source field"
                )
            return self.database, self.collection
        if not isinstance(origin, CollectionOrigin):
            raise ConfigurationError(
                f"vector_store has `in_place: true`, but the source is {source.describe()}: only "
                "documents of a MongoDB collection can hold their vectors; remove it and name a "
                "`database` and a `collection`"
            )
        theirs = (origin.database, origin.collection)
        mine = (self.database or theirs[0], self.collection or theirs[1])
        if mine != theirs:
            raise ConfigurationError(
                f"vector_store has `in_place: true` with {'.'.join(mine)}, but the source is "
                f"{'.'.join(theirs)}: remove `database` and `collection`"
            )
        if source.id_field != "_id":
            raise ConfigurationError(
                f"vectors in place are written by `_id`, but the source has `id_field: "
                f"{source.id_field}`: remove it, or give the vectors a collection of their own"
            )
        return theirs

    def open(
        self, client: MongoClient, source: SourceResource, space: EmbeddingSpace, pipeline: str
    ) -> "VectorStore":
        database, collection = self.namespace(source)
        stored_as = self.format(space)
        if not self.in_place:
            taken = {"_id", TEXT_FIELD, SOURCE_FIELD, self.path.split(".")[0]}
            taken.add(self.lineage_path.split(".")[0])
            if stored_as.rescore:
                taken.add(self.rescore_path.split(".")[0])
            clash = sorted(name for name in source.carry if name.split(".")[0] in taken)
            if clash:
                raise ConfigurationError(
                    f"the source carries {', '.join(clash)}, which the vector store needs for "
                    "itself: do not carry it, or choose another `path`"
                )
        return VectorStore(
            client[database][collection],
            path=self.path,
            lineage_path=self.lineage_path,
            rescore_path=self.rescore_path,
            format=stored_as,
            in_place=self.in_place,
            carried=tuple(source.carry),
            pipeline=pipeline,
        )


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
        names = ("space", "text_hash", "fields_hash", "stored_as")
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
        writes = []
        for row, (chunk, _, lineage) in enumerate(rows):
            values = {self.path: to_bson(main[row], self.format.dtype)}
            if fine is not None and self.format.rescore:
                values[self.rescore_path] = to_bson(fine[row], self.format.rescore)
            writes.append(self._update(chunk, values, lineage))
        return self._bulk(writes)

    def refresh(self, chunks: Sequence[Chunk]) -> int:
        """Write carried fields that changed; vectors stay."""
        return self._bulk(
            [
                self._carry(chunk, {f"{self.lineage_path}.fields_hash": chunk.fields_hash})
                for chunk in chunks
            ]
        )

    def _update(self, chunk: Chunk, vectors: dict[str, Any], lineage: Lineage) -> UpdateOne:
        values: dict[str, Any] = {
            **vectors,
            self.lineage_path: {
                "space": lineage.space,
                "model": lineage.model,
                "text_hash": lineage.text_hash,
                "fields_hash": chunk.fields_hash,
                "batch": lineage.batch,
                "run": lineage.run,
                "at": lineage.at,
                "pipeline": self._pipeline,
                "stored_as": str(self.format),
            },
        }
        if self.in_place:
            update: dict[str, Any] = {"$set": values}
            if self.drops_rescore:
                update["$unset"] = {self.rescore_path: ""}
            return UpdateOne({"_id": chunk.id}, update)
        values[TEXT_FIELD] = chunk.text
        values[SOURCE_FIELD] = chunk.source_id
        return self._carry(chunk, values, upsert=True)

    def _carry(self, chunk: Chunk, values: dict[str, Any], *, upsert: bool = False) -> UpdateOne:
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
        gone = [path for path, value in carried.items() if value is MISSING]
        if self.drops_rescore:
            gone.append(self.rescore_path)
        if gone:
            update["$unset"] = dict.fromkeys(gone, "")
        return UpdateOne({"_id": chunk.id}, update, upsert=upsert)

    def _bulk(self, writes: list[UpdateOne]) -> int:
        if not writes:
            return 0
        try:
            result = self.collection.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            first = error.details["writeErrors"][0] if error.details.get("writeErrors") else {}
            raise DeploymentError(
                f"{self.collection.full_name} refused {len(error.details['writeErrors'])} of "
                f"{len(writes)} writes, the first: {first.get('errmsg', error)}"
            ) from error
        return result.matched_count + result.upserted_count

    def delete(self, ids: Sequence[Any]) -> int:
        """Remove the vectors of chunks whose source vanished; only this pipeline's own."""
        mine = {"_id": {"$in": list(ids)}, **self._mine}
        if not self.in_place:
            return self.collection.delete_many(mine).deleted_count
        paths = [self.path, self.lineage_path]
        if self.format.rescore or self.drops_rescore:
            paths.append(self.rescore_path)
        gone = {"$unset": dict.fromkeys(paths, "")}
        return self.collection.update_many(mine, gone).modified_count

    def ids(self, batch_size: int = 5_000) -> Iterator[Any]:
        """Ids of all chunks of this pipeline that have a vector, streamed."""
        cursor = self.collection.find(self._mine, {"_id": 1}, batch_size=batch_size)
        return (document["_id"] for document in cursor)

    def count(self) -> int:
        """Chunks of this pipeline that have a vector."""
        return self.collection.count_documents(self._mine)

    def count_space(self, space: str) -> int:
        """Vectors of one space at this path, whichever pipeline made them."""
        return self.collection.count_documents({f"{self.lineage_path}.space": space})

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

    def vectors(
        self, space: str, fields: Sequence[str], batch_size: int = 1_000
    ) -> Iterator[list[StoredVector]]:
        """All vectors of one space with some fields, streamed in batches."""
        projection = dict.fromkeys([self.path, *_without_overlaps(fields)], 1)
        cursor = self.collection.find(
            {f"{self.lineage_path}.space": space}, projection, batch_size=batch_size
        )
        rows: list[StoredVector] = []
        for document in cursor:
            vector = from_bson(_at(document, self.path))
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

    def documents(self, ids: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """Whole documents without their vectors, by encoded id."""
        hidden = dict.fromkeys([self.path, self.rescore_path], 0)
        cursor = self.collection.find({"_id": {"$in": list(ids)}}, hidden)
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


def _without_overlaps(paths: Sequence[str]) -> list[str]:
    """MongoDB refuses a projection of both `a` and `a.b`; `a` brings `a.b` along."""
    chosen = set(paths)
    return [
        path
        for path in dict.fromkeys(paths)
        if not any(path[:at] in chosen for at, sign in enumerate(path) if sign == ".")
    ]
