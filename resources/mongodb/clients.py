"""One client a process for each deployment: it has threads of its own, and a pool of sockets."""

import os
import threading
import weakref
from dataclasses import dataclass
from queue import SimpleQueue

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from resources.core import warm
from resources.mongodb.connection_string import unusable


@dataclass
class _Shared:
    client: MongoClient
    users: int = 0


_Key = tuple[int, str, float]
_clients: dict[_Key, _Shared] = {}
_lock = threading.Lock()
# A finalizer runs wherever the collector does: in a thread that holds any lock, in one that is just
# beginning while another waits for it. So it takes no lock and starts no thread, but leaves word.
_let_go: SimpleQueue[_Key] = SimpleQueue()
_closers: dict[int, threading.Thread] = {}


class ClientHandle:
    """A share of the process's client, which is closed when nobody holds one any more.

    Args:
        uri: Connection string.
        timeout_seconds: How long to look for a server.

    Raises:
        DeploymentError: The driver cannot use the connection string.
    """

    def __init__(self, uri: str, timeout_seconds: float) -> None:
        self.uri = uri
        key = (os.getpid(), uri, timeout_seconds)  # a client does not survive a fork
        with _lock:
            shared = _clients.get(key) or _Shared(_connect(uri, timeout_seconds))
            _clients[key] = shared
            # In a process that stays, one more, who never lets go.
            shared.users += 2 if warm.stays() and not shared.users else 1
            if os.getpid() not in _closers:  # nor does a thread
                closer = threading.Thread(target=_close, name="mongodb-clients", daemon=True)
                _closers[os.getpid()] = closer
                closer.start()
        self.client = shared.client
        # The driver closes at the interpreter's end by itself.
        weakref.finalize(self, _let_go.put, key).atexit = False


def _close() -> None:
    """Close what nobody holds any more, for as long as the process lives."""
    while True:
        key = _let_go.get()
        with _lock:
            shared = _clients[key]
            shared.users -= 1
            if shared.users or key[0] != os.getpid():
                continue
            del _clients[key]
        # To end its sessions the driver looks for a server, for as long as it may take to find one.
        threading.Thread(target=shared.client.close, daemon=True).start()


def _connect(uri: str, timeout_seconds: float) -> MongoClient:
    try:
        return MongoClient(
            uri,
            serverSelectionTimeoutMS=int(timeout_seconds * 1000),
            appname="mongodb-embedding-pipelines",
            uuidRepresentation="standard",
            # A date that Python cannot hold would end a whole read, or hide an error reply.
            datetime_conversion="DATETIME_AUTO",
        )
    except (PyMongoError, ValueError, TypeError, OSError) as error:
        raise unusable(error, uri) from error
