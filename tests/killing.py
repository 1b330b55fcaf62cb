"""Runs in processes of their own that can be killed and frozen, and connections that can be cut.

The processes come from a fork server that has everything imported, so that a run begins at once.
"""

import importlib
import itertools
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import psutil

from tests.workshop import Workshop

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.killing", "sentence_transformers"])


def stop_before(method: str, collection: str = "", *, after: int = 0) -> None:
    """Freeze this process once, right before it calls a method.

    Args:
        method: As `module:Class.method`.
        collection: Only where it is called on the collection of this name.
        after: So many calls before go through.
    """
    module, _, names = method.partition(":")
    owner = getattr(importlib.import_module(module), names.split(".")[0])
    name = names.split(".")[1]
    call = getattr(owner, name)
    calls = itertools.count()

    def wrapped(self: Any, *args: Any, **options: Any) -> Any:
        if (not collection or self.name == collection) and next(calls) == after:
            freeze()
        return call(self, *args, **options)

    setattr(owner, name, wrapped)


def freeze() -> None:
    """This thread, which goes no step further; to the process, another might take it."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


def _run(
    fields: dict[str, Any],
    environment: Mapping[str, str],
    prepare: Callable[[], None] | None,
    work: Callable[[Workshop], tuple[bool, Any]],
    channel: Connection,
) -> None:
    os.close(1)  # what Dagster logs would drown pytest's own output
    os.close(2)
    os.environ.update(environment)
    workshop = Workshop(**fields)
    workshop.settings = fields["settings"]  # whatever it begins with
    if prepare is not None:
        prepare()
    channel.send("begins")
    channel.send(work(workshop))


def run_all(workshop: Workshop) -> tuple[bool, list[str]]:
    done = workshop.run()
    return done.success, done.failures


class RunningChild:
    """A run of a workshop's pipeline in another process, or other work.

    Args:
        workshop: Whose.
        environment: Variables that it needs; those of the fork server are of its start.
        prepare: Called in the process before the run, such as a partial of `stop_before`.
        work: Done in place of the run; says whether it succeeded, and what came of it.
    """

    def __init__(
        self,
        workshop: Workshop,
        *,
        environment: Mapping[str, str] | None = None,
        prepare: Callable[[], None] | None = None,
        work: Callable[[Workshop], tuple[bool, Any]] = run_all,
    ) -> None:
        names = ("folder", "uri", "database", "model", "name", "settings")
        fields = {name: getattr(workshop, name) for name in names}
        self._channel, theirs = FORKS.Pipe()
        arguments = (fields, environment or {}, prepare, work, theirs)
        self._process = FORKS.Process(target=_run, args=arguments)
        self._process.start()
        theirs.close()
        assert self._channel.recv() == "begins"

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def kill(self) -> None:
        """SIGKILL, which ends frozen ones too; nothing where it has ended."""
        with suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        self._process.join()

    def wait_until_frozen(self) -> None:
        while psutil.Process(self._process.pid).status() != psutil.STATUS_STOPPED:
            assert self.alive, "it ended before it came to what it was to stop at"
            time.sleep(0.01)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process.pid
        os.kill(self._process.pid, number)

    def kill_when(self, seen: Callable[[], bool]) -> bool:
        """SIGKILL as soon as something is seen; False where it ended before."""
        while self.alive and not seen():
            time.sleep(0.001)
        killed = self.alive
        if killed:
            self.kill()
        return killed

    def result(self) -> tuple[bool, Any]:
        """Whether it succeeded, and its sentences if not; of other work, what came of it."""
        found = self._channel.recv()
        self._process.join()
        return found


def expire_lease(workshop: Workshop) -> None:
    """As if its holder had been frozen for longer than its term."""
    leases = workshop.client[workshop.database]["embedding_leases"]
    past = datetime.fromtimestamp(0, UTC)
    assert leases.update_one({"_id": workshop.name}, {"$set": {"expires_at": past}}).matched_count


class CutProxy:
    """In front of a server: closes every connection once so many bytes went to the server."""

    def __init__(self, port: int) -> None:
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.left: int | None = None
        self.cuts = 0
        self.down = False
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.down:
                _close(client)
                continue
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

    def fall(self) -> None:
        """Close every connection, and every further one at once, until `down` is False again."""
        self.down = True
        for end in self._sockets:
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
