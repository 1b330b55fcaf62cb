"""The search index over the texts, beside the vector index: the same life, and an end of its own.

It is dropped when it is no longer declared, which a vector index never is: so it is noted in the
registry before it is made: one that is not noted there is never changed, and only the pipeline that
made it drops it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resources.core.errors import SearchIndexError
from resources.mongodb.lease import Lease
from resources.registry.indexes import Indexes
from resources.search_index.declaration import IndexDeclaration
from resources.search_index.mongodb.lifecycle import IndexState, index_errors
from resources.search_index.mongodb.text_definition import (
    TYPE,
    build_text_definition,
    index_name,
    text_differences,
)
from resources.search_index.mongodb.upkeep import ServerIndex
from resources.search_index.mongodb.waiting import IndexWait
from resources.vector_store.store import VectorStore

Log = Callable[[str], None]

_DROPPED = "dropping index {}: search_index has no `text` any more"


@dataclass(frozen=True)
class Declared:
    """What was sent, and what was there before."""

    wanted: Mapping[str, Any]
    before: IndexState | None
    changed: bool
    wait: IndexWait


class TextIndex:
    """The index of type `search` that goes with a vector index.

    Args:
        store: The texts lie in its collection.
        indexes: Of the registry.
        declared: As the resource `search_index` has it.
        space_path: Where a document names the space of its vector.
        wait: Makes what waits for an index of this name.

    Attributes:
        name: Of the index.
        fields: That hold the texts; empty where none is declared.
        changed: Whether anything was made, changed or dropped.
    """

    def __init__(
        self,
        store: VectorStore,
        indexes: Indexes,
        declared: IndexDeclaration,
        space_path: str,
        wait: Callable[[str, Log], IndexWait],
    ) -> None:
        self.name, self.changed = index_name(declared.name), False
        self.fields: Sequence[str] = ()
        if declared.text:
            self.fields = declared.text.fields or store.text_shape.fields
        self._indexes, self._key = indexes, store.key.index(self.name)
        self._declared, self._space_path, self._wait = declared, space_path, wait
        self._collection, self._pipeline = store.collection, store.pipeline
        self._path = store.path
        self._index = ServerIndex(store.collection, self.name, TYPE, text_differences)

    def declare(self, log: Log, lease: Lease | None) -> Declared | None:
        """Create, update or drop it; None where none is declared.

        Raises:
            SearchIndexError: The server refuses it, or somebody else's has the name.
            LeaseError: Another run has taken the pipeline over.
        """
        if not self._declared.text:
            self.drop(lambda: log(_DROPPED.format(self.name)), lease)
            return None
        wanted = build_text_definition(
            self._declared,
            fields=self.fields,
            space_path=self._space_path,
            path=self._path,
        )
        wait = self._wait(self.name, log)
        with index_errors(self._collection, self.name):
            state = self._index.find_settled(wait, log)
            if lease:
                lease.check()
            if state is None or state.status == "DOES_NOT_EXIST":
                self._indexes.note_maker(self._key, self._pipeline, lease)
            elif self._indexes.maker(self._key) is None:
                self._check_theirs(state, wanted)
            self.changed = self._index.declare(state, wanted, log)
        return Declared(wanted, state, self.changed, wait)

    def _check_theirs(self, state: IndexState, wanted: Mapping[str, Any]) -> None:
        different = self._index.different(state, wanted)
        if different:
            raise SearchIndexError(
                f"{self._collection.full_name} has an index {self.name} that no pipeline "
                f"has made, and it is another one ({'; '.join(different)}): choose another `name` "
                f"for search_index, or drop that index with `embeddings index drop PIPELINE --name "
                f"{self.name}`"
            )

    def drop(self, told: Callable[[], None] = lambda: None, lease: Lease | None = None) -> None:
        """Drop it, if this pipeline has made it.

        Args:
            told: Called before it is dropped.
            lease: Asked before.
        """
        if self._indexes.maker(self._key) != self._pipeline:
            return  # nobody's that we know of, or a neighbour's who still declares it
        with index_errors(self._collection, self.name):
            state = self._index.find()
            if lease:
                lease.check()
            if state is not None and state.there:
                told()
                self._collection.drop_search_index(self.name)
                self.changed = True
        self._indexes.forget_maker(self._key)

    def await_serving(self, declared: Declared, lease: Lease | None) -> IndexState:
        """Wait until what was declared serves.

        Raises:
            SearchIndexError: It fails, is dropped meanwhile, or takes too long.
            LeaseError: Another run has taken the pipeline over.
        """
        with index_errors(self._collection, self.name):
            return self._index.await_serving(
                declared.wait,
                declared.before,
                declared.wanted,
                changed=declared.changed,
                lease=lease,
            )

    def listed(self) -> IndexState:
        """As the server lists it.

        Raises:
            SearchIndexError: There is none.
        """
        with index_errors(self._collection, self.name):
            return self._index.listed()
