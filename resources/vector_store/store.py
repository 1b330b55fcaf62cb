"""Vectors of one pipeline in one collection: looked up, counted, read."""

import dataclasses
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymongo import ReadPreference
from pymongo.collection import Collection

from resources.core.chunks import Chunk
from resources.core.errors import DeploymentError
from resources.core.keys import key
from resources.core.lineage import Lineage
from resources.core.store_key import StoreKey
from resources.core.vectors import (
    Dtype,
    Element,
    Layout,
    VectorFormat,
    as_floats,
    element_of,
    from_bson,
)
from resources.core.windows import WINDOW_BYTES
from resources.sources.chunking import PLACE_FIELD
from resources.sources.fields import without_nested
from resources.sources.rejection import BadRecord
from resources.sources.text import TextField, TextTemplate
from resources.vector_store import layout as layouts
from resources.vector_store.ownership import Occupant, why_not_ours, why_not_shared

TEXT_FIELD, SOURCE_FIELD = "text", "source_id"
UNWRITTEN = "unwritten"
"""In place of a hash of carried fields: those that are there go with the space that serves."""
MARKS = ("text_hash", "stored_as", "batch", "at", "token")
MARKS_BATCH = 20_000


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the store says of one chunk: enough to decide whether anything is to be done.

    Attributes:
        owner: The pipeline that made the vector; None where there is none of ours.
        cut: Its model saw only the beginning of the text, or may have.
        foreign: There is something at the vector's path that nobody's lineage explains.
        occupant: Of a collection of vectors: the document that is there with nothing at our path.
    """

    space_id: str | None = None
    text_hash: str | None = None
    fields_hash: str | None = None
    format: str | None = None
    chunker: str | None = None
    owner: str | None = None
    cut: bool = False
    foreign: bool = False
    occupant: Occupant | None = None


@dataclass(frozen=True, slots=True)
class StoredVector:
    id: Any
    vector: np.ndarray
    fields: Mapping[str, Any]


class VectorStore:
    """The vectors of one pipeline at one path of one collection; writes nothing but its index.

    Attributes:
        format: How vectors are stored here; of int8 with its scale, where one is fixed already.
        text_shape: Where a document here has the text that was embedded, or would be now.
        beside: Where the lineage lies of the space that serves, where this is another one: in a
            document with such a vector, text and carried fields are that one's.
        newest: The highest token that `stored` has met in the lineage of this pipeline's vectors.
    """

    beside: str | None = None
    newest: int = 0

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
        text_shape: TextField | TextTemplate | None = None,
        chunker: str | None = None,
        adopt: bool = False,
    ) -> None:
        # What is stored is compared with, and indexed, right after it was written.
        self.collection = collection.with_options(read_preference=ReadPreference.PRIMARY)
        self.searched = collection
        """The same for searches: read where the address says."""
        self.path = path
        self.lineage_path = lineage_path
        self.rescore_path = rescore_path
        self.format = format
        self.in_place = in_place
        self.carried = carried
        self.pipeline = pipeline
        self.text_shape = text_shape or TextField(TEXT_FIELD)
        self.chunker = chunker
        self.adopt = adopt
        self.mine = {f"{lineage_path}.pipeline": pipeline}

    @property
    def key(self) -> StoreKey:
        """The store's name in the registry."""
        return StoreKey(self.collection.database.name, self.collection.name, self.path)

    @property
    def dtype(self) -> Dtype:
        """Of the indexed field."""
        return self.format.dtype

    @property
    def element(self) -> Element:
        """What the indexed field's values are compared as."""
        return element_of(self.format.dtype)

    @property
    def layout(self) -> Layout:
        return self.format.layout

    @property
    def owned(self) -> tuple[str, ...]:
        """Paths of documents in a collection of vectors that hold what is carried."""
        extra = (layouts.METADATA,) if self.layout == "llamaindex" else ()
        return (*self.carried, *extra)

    def place(self, name: str) -> str:
        """Where in a document a field lies that searches name as the source names it."""
        return layouts.place(self.layout, name, self.carried)

    def placed(self, clause: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """A filter that names fields as the source names them, for the documents here."""
        return layouts.placed(self.layout, clause, self.carried)

    @property
    def keeps_all(self) -> bool:
        """Whether the vectors that the provider returned can be had back from here."""
        return self.format.element in (self.element, self.format.rescore)

    def fix_scale(self, scale: float | None) -> None:
        """Take the factor that the first run to write has found for the whole space."""
        self.format = dataclasses.replace(self.format, scale=scale)

    def prepare(self) -> None:
        """Create the index that finds a vector by its text, and counts spaces.

        Source: a compound index also serves queries on its prefix (MongoDB manual).
        """
        self.collection.create_index(
            [(f"{self.lineage_path}.space", 1), (f"{self.lineage_path}.text_hash", 1)],
            name=self._helper,
        )
        if self.chunker:  # what stands around a chunk is found by it
            place = [(SOURCE_FIELD, 1), (f"{PLACE_FIELD}.index", 1)]
            self.collection.create_index(place, name="source_chunks")

    @property
    def _helper(self) -> str:
        return f"{self.lineage_path}_space_text"

    def drop_helper(self) -> None:
        """Drop the index that finds a vector by its text: there is none left. It may be gone."""
        if self._helper in self.collection.index_information():
            self.collection.drop_index(self._helper)

    def stored(self, ids: Sequence[Any]) -> dict[str, StoredState]:
        """State of the chunks that have a vector or a document here, by key.

        One command where all have a vector of ours or nothing; one more for what else is there.
        """
        lineage = self.lineage_path
        names = ("space", "text_hash", "fields_hash", "stored_as", "chunker", "pipeline", "cut")
        wanted = [f"{lineage}.{name}" for name in (*names, "token")]
        cursor = self.collection.find(
            {"_id": {"$in": list(ids)}}, dict.fromkeys(wanted, 1), batch_size=len(ids) + 1
        )
        states, bare = {}, []
        for document in cursor:
            found = at_path(document, lineage)
            if isinstance(found, Mapping) and found.get("space"):
                # Before there was a choice, every vector was stored as float32.
                found = {"stored_as": "float32", "cut": False, **found}
                values: Any = map(found.get, names)
                if found.get("pipeline") == self.pipeline:
                    self.newest = max(self.newest, found.get("token") or 0)
                states[key(document["_id"])] = StoredState(*values)
            else:
                bare.append(document["_id"])
        return states | self._bare(bare) if bare else states

    def _bare(self, ids: Sequence[Any]) -> dict[str, StoredState]:
        """Documents without a vector of ours: in place most of a source's; elsewhere somebody's."""
        wanted: dict[str, Any] = {"_id": {"$in": list(ids)}}
        if self.in_place:
            found = self.collection.find({**wanted, self.path: {"$ne": None}}, {"_id": 1})
            return {key(row["_id"]): StoredState(foreign=True) for row in found}
        states = {}
        for document in self.collection.find(wanted):
            foreign = at_path(document, self.path) is not None
            there = Occupant.of(document)
            states[key(document["_id"])] = StoredState(foreign=foreign, occupant=there)
        return states

    def served(self, ids: Sequence[Any]) -> dict[str, tuple[str | None, str]]:
        """Of which text and fields the vectors of the space that serves are, by key."""
        if self.beside is None:
            return {}
        names = [f"{self.beside}.{name}" for name in ("text_hash", "fields_hash")]
        mine = {f"{self.beside}.pipeline": self.pipeline}
        found = self.collection.find({"_id": {"$in": list(ids)}, **mine}, dict.fromkeys(names, 1))
        return {
            key(row["_id"]): (at_path(row, names[0]), at_path(row, names[1]) or "") for row in found
        }

    def why_not(self, chunk: Chunk, state: StoredState) -> str:
        """Why a chunk may not be written where something is already; empty where it may."""
        if state.owner is not None and state.owner != self.pipeline:
            return why_not_ours(state.owner, state.space_id)
        if state.space_id is not None or (state.foreign and self.adopt):
            return ""
        if state.foreign:
            return (
                f"something is at {self.path!r} that no lineage explains: choose another `path`, "
                "or let `vector_store: {adopt: true}` replace it"
            )
        return self.why_not_shared(chunk, state.occupant) if state.occupant else ""

    def fields_are(self, state: StoredState, chunk: Chunk) -> bool:
        """Whether what a stored chunk carries is as it should be, or another space's to write."""
        if self.beside and state.fields_hash == UNWRITTEN:
            return True
        return (state.fields_hash or "") == chunk.fields_hash

    def why_unreadable(self, chunk: Chunk) -> str:
        """Why the framework that the documents are laid out for could not read this one."""
        return layouts.why_unreadable(self.layout, chunk)

    def why_not_shared(self, chunk: Chunk, there: Occupant) -> str:
        """Why a chunk may not be written into a document that holds other vectors, or none."""
        others = sorted(there.pipelines - {self.pipeline})
        if self.layout != "plain" and others:
            return (
                f"the document with this _id holds a vector of the pipeline {others[0]}, which "
                f"{self.layout} would take for metadata: it is left as it is; give the vectors a "
                "collection of their own"
            )
        return why_not_shared(chunk, there, pipeline=self.pipeline, text_field=TEXT_FIELD)

    def occupants(self, ids: Sequence[Any]) -> dict[str, Occupant]:
        """Documents that are there, by key, in full: to be asked where something is wrong."""
        found = self.collection.find({"_id": {"$in": list(ids)}})
        return {key(document["_id"]): Occupant.of(document) for document in found}

    def known_texts(
        self, space_id: str, text_hashes: Sequence[str], *, cut: bool = True
    ) -> set[str]:
        """Which of the texts have a vector of this space here, as the provider returned it.

        Args:
            space_id: Id of the space.
            text_hashes: Of the texts.
            cut: A vector of only the beginning of a text counts as well.
        """
        if not self.keeps_all:
            return set()
        name = f"{self.lineage_path}.text_hash"
        wanted = self._by_text(space_id, text_hashes, cut=cut)
        cursor = self.collection.find(wanted, {name: 1, "_id": 0})
        return {at_path(document, name) for document in cursor}

    def by_text(
        self, space_id: str, text_hashes: Sequence[str], *, cut: bool = True
    ) -> dict[str, tuple[np.ndarray, Lineage]]:
        """Vectors, as the provider returned them, and their lineage by text hash.

        Those of whole texts where there are any, else also those of texts that were `cut`, or not.
        """
        path = self.path if self.element == self.format.element else self.rescore_path
        cursor = self.collection.find(
            self._by_text(space_id, text_hashes, cut=cut), {path: 1, self.lineage_path: 1, "_id": 0}
        )
        found: dict[str, tuple[np.ndarray, Lineage]] = {}
        for document in cursor:
            lineage = at_path(document, self.lineage_path)
            names = ("space", "model", "text_hash", "batch", "run", "at")
            vector, text = readable(at_path(document, path)), lineage["text_hash"]
            was_cut = bool(lineage.get("cut"))
            if vector is not None and not (was_cut and text in found):
                found[text] = (vector, Lineage(*(lineage[name] for name in names), cut=was_cut))
        return found

    def _by_text(self, space_id: str, text_hashes: Sequence[str], *, cut: bool) -> dict[str, Any]:
        lineage = self.lineage_path
        return {
            **({} if cut else {f"{lineage}.cut": {"$ne": True}}),
            f"{lineage}.space": space_id,
            f"{lineage}.text_hash": {"$in": list(text_hashes)},
            f"{lineage}.stored_as": {
                "$in": [name for alike in self.format.alike() for name in names_of(alike)]
            },
            self.path: {"$exists": True},
        }

    def ids(self, batch_size: int = 5_000) -> Iterator[tuple[Any, Any]]:
        """Ids of all chunks of this pipeline that have a vector, and of their source documents."""
        wanted = {"_id": 1} if self.in_place else {"_id": 1, SOURCE_FIELD: 1}
        cursor = self.collection.find(self.mine, wanted, batch_size=batch_size)
        return ((found["_id"], found.get(SOURCE_FIELD, found["_id"])) for found in cursor)

    def of_other_spaces(self, space_id: str) -> Iterator[tuple[str, Any, bool]]:
        """Of every vector of another space at this path: which, of what document, if it is ours."""
        lineage = self.lineage_path
        names = [f"{lineage}.space", f"{lineage}.pipeline"]
        names += [] if self.in_place else [SOURCE_FIELD]
        wanted = {f"{lineage}.space": {"$nin": [space_id, None]}}
        for found in self.collection.find(wanted, dict.fromkeys(names, 1)):
            made: Any = at_path(found, lineage)
            mine = made.get("pipeline") == self.pipeline
            yield made["space"], found.get(SOURCE_FIELD, found["_id"]), mine

    def ids_of(self, documents: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """As `ids`, of some source documents."""
        by = SOURCE_FIELD if self.chunker and not self.in_place else "_id"
        wanted = {"_id": 1} if self.in_place else {"_id": 1, SOURCE_FIELD: 1}
        mine = {by: {"$in": list(documents)}, **self.mine}
        for found in self.collection.find(mine, wanted):
            yield found["_id"], found.get(SOURCE_FIELD, found["_id"])

    def count(self) -> int:
        """Chunks of this pipeline that have a vector."""
        return self.collection.count_documents(self.mine)

    def count_mine(self, space_id: str) -> int:
        """Vectors of one space at this path that this pipeline made."""
        return self.collection.count_documents(
            {f"{self.lineage_path}.space": space_id, **self.mine}
        )

    def count_space(self, space_id: str) -> int:
        """Vectors of one space at this path, whichever pipeline made them."""
        return self.collection.count_documents({f"{self.lineage_path}.space": space_id})

    def spaces(self) -> list[str]:
        """Ids of the spaces of all vectors at this path, whichever pipeline made them."""
        found = self.collection.distinct(f"{self.lineage_path}.space")
        return [name for name in found if name is not None]

    def models(self, space_id: str) -> list[str]:
        """Models that made vectors of one space at this path, in order."""
        found = self.collection.distinct(
            f"{self.lineage_path}.model", {f"{self.lineage_path}.space": space_id}
        )
        return sorted(name for name in found if name is not None)

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
            {f"{self.lineage_path}.space": None, self.path: {"$ne": None}}
        )

    def other_owner(self, lineage: Mapping[str, Any]) -> str | None:
        """Another pipeline that has a vector here whose lineage is like this, if there is one."""
        wanted = {f"{self.lineage_path}.{name}": value for name, value in lineage.items()}
        owner = f"{self.lineage_path}.pipeline"
        found = self.collection.find_one({**wanted, owner: {"$ne": self.pipeline}}, {owner: 1})
        return str(at_path(found, owner) or "unknown") if found else None

    def marks(self, space_id: str, fields: Sequence[str], *, expected: int) -> Iterator[bytes]:
        """What differs after every change of a vector of one space, or of some fields.

        Without the vectors: `_id`, that part of the lineage which every write changes, and the
        fields, as they come from the server.

        Args:
            space_id: Id of the space.
            fields: Dotted paths.
            expected: How many there are, roughly.

        Returns:
            Batches of BSON documents, one after the other.
        """
        lineage = [f"{self.lineage_path}.{name}" for name in MARKS]
        # The index leads to each document by itself, which takes longer where most are wanted.
        most = expected * 2 > self.collection.estimated_document_count()
        return self.collection.find_raw_batches(
            {f"{self.lineage_path}.space": space_id},
            dict.fromkeys(without_nested([*lineage, *fields]), 1),
            batch_size=MARKS_BATCH,
            hint=[("$natural", 1)] if most else None,
        )

    def vectors(
        self,
        space_id: str,
        fields: Sequence[str],
        batch_size: int = 1_000,
        *,
        ids: Sequence[Any] | None = None,
        size_of: Callable[[Mapping[str, Any]], int] | None = None,
    ) -> Generator[list[StoredVector], None, None]:
        """Vectors of one space with some fields, streamed in batches: all, or those of some ids.

        Args:
            space_id: Id of the space.
            fields: Dotted paths.
            batch_size: At most so many at once.
            ids: Only of these documents.
            size_of: Bytes of the fields of a document, where they may be large: a batch holds no
                more than `WINDOW_BYTES` of them.
        """
        space = f"{self.lineage_path}.space"
        projection = dict.fromkeys(without_nested([self.path, *fields, space]), 1)
        # By ids alone: asked for both, the embedded server goes through the whole space.
        wanted = {space: space_id} if ids is None else {"_id": {"$in": list(ids)}}
        rows: list[StoredVector] = []
        held = 0
        # Whoever stops in the middle leaves no cursor open on the server.
        with self.collection.find(wanted, projection, batch_size=batch_size) as cursor:
            for document in cursor:
                if at_path(document, space) != space_id:
                    continue
                vector = self._readable(document)
                more = size_of(document) if size_of else 0
                if len(rows) == batch_size or (rows and held + more > WINDOW_BYTES):
                    yield rows
                    rows, held = [], 0
                rows.append(StoredVector(document["_id"], vector, document))
                held += more
        if rows:
            yield rows

    def _readable(self, document: Mapping[str, Any]) -> np.ndarray:
        try:
            return from_bson(at_path(document, self.path))
        except ValueError as error:
            raise DeploymentError(
                f"{self.collection.full_name}, _id {document['_id']!r} has a lineage, but at "
                f"{self.path} {error}: somebody has changed it; "
                f"`embeddings audit {self.pipeline} --repair` writes it anew"
            ) from error

    def fine_vectors(self, ids: Sequence[Any], space_id: str) -> dict[str, np.ndarray]:
        """Vectors of the finer field that are of a space, by key."""
        found = self._of_space(ids, self.rescore_path, space_id)
        return {key(chunk_id): from_bson(value) for chunk_id, value in found}

    def indexed_vectors(self, ids: Sequence[Any], space_id: str) -> dict[str, np.ndarray]:
        """Vectors of the indexed field as float32 of their values (bits: -1 and 1), by key."""
        found = (
            (chunk_id, readable(value))
            for chunk_id, value in self._of_space(ids, self.path, space_id)
        )
        return {
            key(chunk_id): as_floats(vector, self.element)
            for chunk_id, vector in found
            if vector is not None
        }

    def _of_space(self, ids: Sequence[Any], path: str, space_id: str) -> Iterator[tuple[Any, Any]]:
        """What is at a path of documents whose vector is of a space: another may replace it."""
        space = f"{self.lineage_path}.space"
        cursor = self.collection.find({"_id": {"$in": list(ids)}}, {path: 1, space: 1})
        for document in cursor:
            value = at_path(document, path)
            if value is not None and at_path(document, space) == space_id:
                yield document["_id"], value

    def chunks(self, wanted: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Chunks of this pipeline with their text, place and source, found by a filter."""
        fields = without_nested([*self.text_shape.fields, SOURCE_FIELD, PLACE_FIELD])
        return self.collection.find({**self.mine, **wanted}, dict.fromkeys(fields, 1))

    def documents(
        self, ids: Sequence[Any], fields: Sequence[str] = (), *, for_search: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Documents without their vectors, by key: some fields with the lineage, or all."""
        projection = dict.fromkeys([self.path, self.rescore_path], 0)
        if fields:
            projection = dict.fromkeys(without_nested([*fields, self.lineage_path]), 1)
        collection = self.searched if for_search else self.collection
        cursor = collection.find({"_id": {"$in": list(ids)}}, projection)
        return {key(document["_id"]): document for document in cursor}

    def source_ids(self, ids: Sequence[Any]) -> dict[str, Any]:
        """The source document's id of each document that is here, by key."""
        wanted = {"_id": 1} if self.in_place else {"_id": 1, SOURCE_FIELD: 1}
        cursor = self.collection.find({"_id": {"$in": list(ids)}}, wanted, batch_size=len(ids) + 1)
        return {key(found["_id"]): found.get(SOURCE_FIELD, found["_id"]) for found in cursor}

    def sources(
        self, ids: Sequence[Any], fields: Sequence[str], space_id: str
    ) -> dict[str, dict[str, Any]]:
        """Which source documents have a vector of a space here: some fields of one chunk, by key.

        Args:
            ids: Of source documents.
            fields: Dotted paths.
            space_id: Id of the space.
        """
        by = SOURCE_FIELD if self.chunker else "_id"
        space = f"{self.lineage_path}.space"
        projection = dict.fromkeys(without_nested([by, *fields, space]), 1)
        found: dict[str, dict[str, Any]] = {}
        # By ids alone: asked for both, the embedded server goes through the whole space.
        for document in self.collection.find({by: {"$in": list(ids)}}, projection):
            name = key(document[by])
            if name not in found and at_path(document, space) == space_id:
                found[name] = document
        return found

    def text(self, document: Mapping[str, Any]) -> str | None:
        """Of a stored document; None where there is none any more."""
        try:
            return self.text_shape.render(document)
        except BadRecord:  # it has changed since it was embedded
            return None

    def lineage(self, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
        found = at_path(document, self.lineage_path)
        return found if isinstance(found, Mapping) else None


def names_of(format: VectorFormat) -> list[str | None]:  # noqa: A002
    """What the lineage says of vectors in this format; nothing, before there was a choice."""
    name = str(format)
    return [name, None] if name == "float32" else [name]


def readable(value: Any) -> np.ndarray | None:
    try:
        return from_bson(value)
    except (ValueError, TypeError):
        return None


def at_path(document: Mapping[str, Any], path: str) -> Any:
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value
