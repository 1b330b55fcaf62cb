"""SQLite connections that any number of threads share, one at a time each."""

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Connections:
    """As many as threads ask at once; closed with this object, or when nobody holds it any more.

    Where no more can be opened, because the file is gone by now, a thread waits for one that is.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Opens the first one.

        Raises:
            sqlite3.Error: It cannot be opened.
        """
        self._connect = connect
        self._idle = [connect()]
        self._returned = threading.Condition()
        # Whoever uses one at that moment closes it when it comes back.
        self._finalizer = weakref.finalize(self, _close_all, self._idle)

    @contextmanager
    def one(self) -> Iterator[sqlite3.Connection]:
        connection = self._taken()
        try:
            yield connection
        finally:
            with self._returned:
                self._idle.append(connection)
                if self._finalizer.alive:
                    self._returned.notify()
                else:
                    _close_all(self._idle)
                    self._returned.notify_all()

    def _taken(self) -> sqlite3.Connection:
        with self._returned:
            if self._idle:
                return self._idle.pop()
        try:
            return self._connect()
        except sqlite3.OperationalError:
            with self._returned:
                while not self._idle:
                    if not self._finalizer.alive:
                        raise
                    self._returned.wait()
                return self._idle.pop()

    def close(self) -> None:
        with self._returned:
            self._finalizer()
            self._returned.notify_all()


def _close_all(idle: list[sqlite3.Connection]) -> None:
    while idle:
        idle.pop().close()
