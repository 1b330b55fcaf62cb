"""A state of an index that questions are answered in, and what the registry says of it."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from assets.work.opened import Opened
from assets.work.searching.queries import QueryEmbedder
from assets.work.searching.serving import Serving
from resources.core.errors import QueryRefused
from resources.core.store_key import StoreKey
from resources.registry.indexes import IndexEntry
from resources.registry.pipeline_spaces import placed
from resources.search_index.query import Query


@dataclass(frozen=True)
class Seen:
    """What the registry says of the space that is to be followed.

    Attributes:
        index: What its index was built from; None where there is none.
        how: To embed a query there, where only the registry says so.
        others: Ids of spaces that were begun where it lies, to replace its vectors.
    """

    place: str
    index: IndexEntry | None
    how: Mapping[str, Any] | None = None
    others: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        return self.place, self.how, self.others, self.index and identity_of(self.index)


@dataclass(eq=False)
class State:
    """A state of an index that questions are answered in, with what embeds them.

    Attributes:
        stack: Closed when it has been replaced and nobody asks it any more.
        users: Questions that are being answered, and the follower while it is the newest.
    """

    serving: Serving
    embedder: QueryEmbedder
    seen: Seen
    stack: ExitStack
    users: int = 1


def made(opened: Opened, seen: Seen, embedder: QueryEmbedder, stack: ExitStack) -> State:
    with stack:
        return State(Serving.of(opened), embedder, seen, stack.pop_all())


def prove(state: State) -> None:
    """Load the model, ask the provider, and read the index: so that no question waits for it."""
    serving = state.serving
    try:
        (vector,) = state.embedder.embed(["a"])
    except QueryRefused:  # it makes nothing of this text, which tells as much
        return
    main, *_ = serving.store.format.fields(vector[None])
    serving.index.nearest(main[0], Query(1), serving.fetched)


def index_at(opened: Opened, place: str) -> IndexEntry | None:
    """What the index at a place was built from."""
    settings, base = opened.settings, opened.base_key
    store = StoreKey(base.database, base.collection, placed(base.path, place))
    name = placed(settings.search_index.name, place)
    return opened.registry.indexes.get(store.index(name))


def identity_of(entry: IndexEntry) -> tuple[object, ...]:
    return (
        entry.engine,
        entry.space_id,
        entry.version,
        entry.stored_as,
        entry.similarity,
        entry.definition,
        entry.text_definition,
        entry.fingerprint,
    )
