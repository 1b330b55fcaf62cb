"""What embeds queries: each is open for as long as somebody holds it, and once however many do."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from assets.work.opened import Opened
from assets.work.searching.queries import QueryEmbedder


@dataclass
class _Open:
    embedder: QueryEmbedder
    stack: ExitStack
    holders: int = 0


class Embedders:
    """Of one searcher, by space and by how a query is put there: a model in memory each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # To open one may take long; who asks with one that is open does not wait for it.
        self._opening = threading.Lock()
        self._open: dict[tuple[str, str], _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def held(self, opened: Opened) -> Iterator[QueryEmbedder]:
        """Of the space that a pipeline is opened in.

        Raises:
            EmbeddingsError: It cannot be opened: a variable is not set, a model is not there.
        """
        name = opened.space.id, opened.embedder.query_settings()
        found = self._take(name) or self._opened(name, opened)
        try:
            yield found.embedder
        finally:
            self._let_go(name, found)

    def close(self) -> None:
        """Close all, whoever holds them."""
        with self._lock:
            found = list(self._open.values())
            self._open.clear()
        for each in found:
            each.stack.close()

    def _take(self, name: tuple[str, str]) -> _Open | None:
        with self._lock:
            found = self._open.get(name)
            if found is not None:
                found.holders += 1
            return found

    def _opened(self, name: tuple[str, str], opened: Opened) -> _Open:
        with self._opening:
            if (found := self._take(name)) is not None:
                return found
            with ExitStack() as stack:
                embedder = QueryEmbedder(stack.enter_context(opened.embedder.open()))
                found = _Open(embedder, stack.pop_all(), 1)
            with self._lock:
                self._open[name] = found
            return found

    def _let_go(self, name: tuple[str, str], found: _Open) -> None:
        with self._lock:
            found.holders -= 1
            unused = not found.holders and self._open.get(name) is found
            if unused:
                del self._open[name]
        if unused:
            found.stack.close()
