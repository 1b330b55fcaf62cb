"""What a search goes by: one state of a pipeline's index."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assets.work.opened import Opened
from assets.work.searching.leftover import Leftover
from resources.core.errors import QueryRefused
from resources.core.keys import key
from resources.core.space import EmbeddingSpace
from resources.search_index.engine import ServedIndex
from resources.search_index.query import Hit
from resources.sources.chunking import PLACE_FIELD
from resources.vector_store.store import SOURCE_FIELD, VectorStore


@dataclass(frozen=True)
class Serving:
    """One state of a pipeline's index, with all that an answer from it needs.

    Attributes:
        shown: The fields of a hit: what the pipeline carries or filters by, by name, each with
            where it lies in a document.
        fetched: All fields that are read of a hit's document.
        leftover: Of the space's vectors, where another space replaces them.
    """

    opened: Opened
    index: ServedIndex
    space: EmbeddingSpace
    store: VectorStore
    key: str
    shown: Mapping[str, str]
    fetched: Sequence[str]
    leftover: Leftover | None = None

    @classmethod
    def of(cls, opened: Opened) -> "Serving":
        """As the registry has it now, of the space that the pipeline is opened in.

        Raises:
            QueryRefused: There is no index yet, or it is of another space than the embedder's.
            SearchIndexError: It is missing or damaged.
        """
        name, entry = opened.index_key, opened.registry.indexes.get(opened.index_key)
        if entry is None:
            raise QueryRefused(
                f"pipeline {opened.name} has no index {name} yet: materialize it first, e.g. "
                f"`embeddings run {opened.name}`"
            )
        space = _space(opened, entry.space_id)
        opened = opened.as_indexed(entry)
        store = opened.store
        if store.format.unscaled:
            raise QueryRefused(
                f"{store.key} holds no vector stored as {store.format} yet: materialize "
                f"{opened.name} first, e.g. `embeddings run {opened.name}`"
            )
        names = [*opened.source.carry, *opened.search_index.filter_fields]
        shown = {name: store.place(name) for name in names}
        beside = [] if store.in_place else [SOURCE_FIELD, PLACE_FIELD]
        fetched = [*shown.values(), *store.text_shape.fields, store.lineage_path, *beside]
        leftover = Leftover.of(opened, entry.engine)
        return cls(opened, opened.engine.serve(), space, store, name, shown, fetched, leftover)

    def documents(self, hits: Sequence[Hit]) -> dict[str, Mapping[str, Any]]:
        """By key, of those that were not removed since the index was built.

        All that no engine brought along come with one request.
        """
        missing = [hit.id for hit in hits if hit.document is None]
        fetched = self.store.documents(missing, self.fetched, for_search=True) if missing else {}
        known = {key(hit.id): hit.document or fetched.get(key(hit.id)) for hit in hits}
        return {name: document for name, document in known.items() if document is not None}

    def notes(self) -> list[str]:
        """What is to be known of every answer, as sentences."""
        said = self.leftover.note() if self.leftover else ""
        return [said] if said else []

    @property
    def one_chunk_each(self) -> bool:
        """Whether every source document is one chunk."""
        return self.store.in_place


def _space(opened: Opened, space_id: str) -> EmbeddingSpace:
    """The index's space, which must be the one the embedder puts queries in."""
    mine = opened.space
    if mine.id == space_id:
        return mine
    theirs = opened.registry.spaces.get(space_id)
    why = mine.difference(theirs) if theirs else "its meaning is not in the registry"
    raise QueryRefused(
        f"the index of {opened.name} holds vectors of the space {space_id}, but the "
        f"embedder would put the query into {mine.id} ({why}): run the pipeline with this "
        "embedder first, or search with the one that made the index"
    )
