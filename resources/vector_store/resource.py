"""The resource `vector_store`: where vectors are stored, how, and how much a run may delete."""

import dataclasses
import re
from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator
from pymongo import MongoClient

from resources.core.config import StrictResource
from resources.core.errors import ConfigurationError
from resources.core.lineage import lineage_path, rescore_path
from resources.core.space import SPACE_ID, EmbeddingSpace
from resources.core.store_key import StoreKey, placed
from resources.core.vectors import Dtype, Element, VectorFormat, element_of
from resources.sources.collection import CollectionOrigin
from resources.sources.fields import overlap
from resources.sources.filter_paths import depends_on, looked_at
from resources.sources.resource import SourceResource
from resources.vector_store.layout import METADATA, TAKEN
from resources.vector_store.ownership import INSERTED_FIELD
from resources.vector_store.store import SOURCE_FIELD, TEXT_FIELD, VectorStore


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
    layout: Literal["plain", "langchain", "llamaindex"] = Field(
        default="plain",
        description="Of the documents. langchain, llamaindex: as MongoDBAtlasVectorSearch of "
        "langchain-mongodb or of llama-index-vector-stores-mongodb reads them; implies "
        "`dtype: array`, and one vector a document.",
    )
    max_delete_fraction: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="Stop instead of deleting more than this share of the stored vectors.",
    )
    adopt: bool = Field(
        default=False,
        description="Replace what is at `path` in the source's documents and has no lineage: "
        "vectors made by something else. Without it a run that meets one stops.",
    )
    allow_delete: bool = Field(
        default=False, description="Delete however many source documents have vanished."
    )

    @field_validator("path")
    @classmethod
    def _no_reserved_path(cls, path: str) -> str:
        root = path.split(".")[0]
        if (
            root in {"_id", TEXT_FIELD, SOURCE_FIELD, INSERTED_FIELD}
            or path.startswith("$")
            or ".." in path
        ):
            raise ValueError(f"path {path!r} is taken: choose a field of its own, e.g. embedding")
        return path

    @model_validator(mode="after")
    def _layout_alone(self) -> Self:
        """A framework's reader knows one vector a document, of doubles, in a field of its own."""
        if self.layout == "plain":
            return self
        says = f"vector_store has `layout: {self.layout}`"
        if self.in_place:
            raise ValueError(
                f"{says}, which needs a collection of its own, and `in_place: true`: remove one "
                "of the two"
            )
        if self.dtype not in ("auto", "array"):
            raise ValueError(
                f"{says}, whose reader takes arrays of numbers only, and `dtype: {self.dtype}`: "
                "remove one of the two"
            )
        if self.rescore != "none":
            raise ValueError(
                f"{says}, whose reader would take a second vector for metadata, and `rescore: "
                f"{self.rescore}`: remove one of the two"
            )
        if "." in self.path:
            raise ValueError(
                f"{says}, whose reader does not look into fields, and the path {self.path!r}: "
                "choose one without a dot, e.g. embedding"
            )
        if self.layout == "llamaindex" and self.path == METADATA:
            raise ValueError(f"{says}, which needs {METADATA!r} for itself: choose another `path`")
        return self

    @property
    def lineage_path(self) -> str:
        return lineage_path(self.path)

    @property
    def rescore_path(self) -> str:
        return rescore_path(self.path)

    @property
    def deletable(self) -> float:
        """Share of the stored vectors that a run may delete."""
        return 1.0 if self.allow_delete else self.max_delete_fraction

    def format(self, space: EmbeddingSpace) -> VectorFormat:
        """How vectors of a space are stored here.

        Raises:
            ConfigurationError: They cannot be: finer than the provider returns them, or a rescore
                field that is no finer than the indexed one.
        """
        fineness: list[Element] = ["packed_bit", "int8", "float32"]
        if self.layout != "plain":
            if space.element != "float32":
                raise ConfigurationError(
                    f"vector_store has `layout: {self.layout}`, whose reader takes arrays of "
                    f"numbers only, but the embedder returns {space.element}: let the provider "
                    "return floats, or remove `layout`"
                )
            return VectorFormat(space.element, "array", layout=self.layout)
        dtype: Dtype = space.element if self.dtype == "auto" else self.dtype
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

    def check_source(self, source: SourceResource) -> None:
        """Refuse a source that the run itself would change; needs no server.

        Raises:
            ConfigurationError: The vectors' own collection is the source's, without `in_place`;
                or, in place, the source reads or filters by what the run writes; or it carries
                what the layout's reader needs for itself.
        """
        self._check_carried(source)
        origin = source.origin
        if not isinstance(origin, CollectionOrigin):
            return
        if not self.in_place:
            if (self.database, self.collection) == (origin.database, origin.collection):
                raise ConfigurationError(
                    f"vector_store names {origin.namespace}, the source's own collection: set "
                    "`in_place: true` to put the vectors into its documents, or name a collection "
                    "of their own"
                )
            return
        read = {*looked_at(origin.filter), *source.text_shape().fields, *source.carry}
        beside = sorted(name for name in read if self._beside(name))
        for path in (self.path, self.lineage_path, self.rescore_path, *beside):
            if depends_on(origin.filter, path):
                raise ConfigurationError(
                    f"the source's filter depends on {path!r}, which the run itself writes: take "
                    "it out; a run finds by itself what is new or changed"
                )
            for setting, used in (
                ("text", source.text_shape().fields),
                ("carry", source.carry),
            ):
                if any(overlap(path, name) for name in used):
                    raise ConfigurationError(
                        f"the source's `{setting}` reads {path!r}, which the run itself writes: "
                        "take it out, or choose another `path` in vector_store"
                    )

    def _beside(self, name: str) -> bool:
        """Whether a field is where another space of the pipeline lies, or would: see `placed`."""
        paths = (
            placed(self.path, "SPACE"),
            lineage_path(placed(self.path, "SPACE")),
            rescore_path(placed(self.path, "SPACE")),
        )
        patterns = (re.escape(path).replace("SPACE", SPACE_ID) for path in paths)
        return any(re.match(rf"{pattern}(\.|$)", name) for pattern in patterns)

    def _check_carried(self, source: SourceResource) -> None:
        clash = sorted({name for name in source.carry if name.split(".")[0] in TAKEN[self.layout]})
        if clash:
            raise ConfigurationError(
                f"the source carries {', '.join(clash)}, which the reader of `layout: "
                f"{self.layout}` needs for itself: do not carry it, or remove `layout`"
            )

    def namespace(self, source: SourceResource) -> tuple[str, str]:
        """Database and collection.

        Raises:
            ConfigurationError: They are missing, or contradict the source; or as `check_source`.
        """
        self.check_source(source)
        origin = source.origin
        if self.in_place and source.chunking.describe():
            raise ConfigurationError(
                f"vector_store has `in_place: true`, but the source is cut into chunks "
                f"({source.chunking.kind}): a document holds one vector; remove `chunking`, or "
                "name a `database` and a `collection` for the vectors"
            )
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

    def key(self, source: SourceResource) -> StoreKey:
        """As `VectorStore.key`, without a server."""
        return StoreKey(*self.namespace(source), self.path)

    def open(
        self,
        client: MongoClient,
        source: SourceResource,
        space: EmbeddingSpace,
        pipeline: str,
        *,
        scale_of: Callable[[str], float | None],
    ) -> VectorStore:
        """The pipeline's vectors.

        Args:
            client: A connected client.
            source: What the vectors are made of.
            space: That they are in.
            pipeline: Whose they are.
            scale_of: Finds the int8 scale by the id of a space, as `Registry.int8_scale`; None
                before the first vector was stored. Asked only where the format needs one.

        Raises:
            ConfigurationError: The settings contradict the source or the space.
        """
        database, collection = self.namespace(source)
        stored_as = self.format(space)
        if stored_as.needs_scale:
            stored_as = dataclasses.replace(stored_as, scale=scale_of(space.id))
        if not self.in_place:
            taken = {"_id", TEXT_FIELD, SOURCE_FIELD, INSERTED_FIELD, self.path.split(".")[0]}
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
            text_shape=source.text_shape() if self.in_place else None,
            chunker=source.chunking.describe(),
            adopt=self.adopt,
        )
