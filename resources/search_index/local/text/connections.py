"""SQLite connections that any number of threads share, one at a time each."""

import sqlite3
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Connections:
    """As many as threads ask at once; closed with this object, or when nobody holds it any more."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: deque[sqlite3.Connection] = deque()
        # Whoever uses one at that moment closes it when it comes back.
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        finally:
            self._idle.append(connection)
            if not self._finalizer.alive:
                _close_all(self._idle)

    def close(self) -> None:
        self._finalizer()


def _close_all(idle: deque[sqlite3.Connection]) -> None:
    with suppress(IndexError):
        while True:
            idle.pop().close()
