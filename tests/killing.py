"""Runs in processes of their own that can be killed, and connections that can be cut.

The processes come from a fork server that has everything imported, so that a run begins at once.
"""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any

from tests.workshop import Workshop

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.killing", "sentence_transformers"])


def _run(fields: dict[str, Any], channel: Connection) -> None:
    os.close(1)  # what Dagster logs would drown pytest's own output
    os.close(2)
    workshop = Workshop(**fields)
    channel.send("begins")
    done = workshop.run()
    channel.send((done.success, done.failures))


class RunningChild:
    """A run of a workshop's pipeline in another process."""

    def __init__(self, workshop: Workshop) -> None:
        names = ("folder", "uri", "database", "model", "name", "settings")
        fields = {name: getattr(workshop, name) for name in names}
        self._channel, theirs = FORKS.Pipe()
        self._process = FORKS.Process(target=_run, args=(fields, theirs))
        self._process.start()
        theirs.close()
        assert self._channel.recv() == "begins"

    def kill_after(self, seconds: float) -> bool:
        """SIGKILL, unless it has ended by then; returns whether it was killed."""
        self._process.join(seconds)
        killed = self._process.is_alive()
        if killed:
            assert self._process.pid
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.join()
        return killed

    def result(self) -> tuple[bool, list[str]]:
        """Whether it succeeded, and its sentences if not."""
        found = self._channel.recv()
        self._process.join()
        return found


class CutProxy:
    """In front of a server: closes every connection once so many bytes went to the server."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.left: int | None = None
        self.cuts = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            self._sockets += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(
                    target=self._forward, args=(source, target, source is client), daemon=True
                ).start()

    def _forward(self, source: socket.socket, target: socket.socket, upstream: bool) -> None:
        try:
            while data := source.recv(4096):
                if upstream and self.left is not None:
                    self.left -= len(data)
                    if self.left < 0:
                        self.left = None
                        self.cuts += 1
                        # In the middle of a message: the server has read its beginning.
                        target.sendall(data[: len(data) // 2])
                        break
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            _close(end)

    def close(self) -> None:
        _close(self._listener)
        for end in self._sockets:
            _close(end)


def _close(end: socket.socket) -> None:
    with suppress(OSError):  # it was never connected, or is closed already
        end.shutdown(socket.SHUT_RDWR)
    end.close()


@contextmanager
def cut_proxy(port: int) -> Iterator[CutProxy]:
    proxy = CutProxy(port)
    try:
        yield proxy
    finally:
        proxy.close()
