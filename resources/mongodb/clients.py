"""One client a process for each deployment: it has threads of its own, and a pool of sockets."""

import os
import threading
import weakref
from dataclasses import dataclass

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from resources.mongodb.connection_string import unusable


@dataclass
class _Shared:
    client: MongoClient
    users: int = 0


CLOSING = "mongodb-client-closing"
"""Names the thread in which a client is closed."""

_Key = tuple[int, str, float]
_clients: dict[_Key, _Shared] = {}
# A finalizer may run whenever the collector does, also while this thread holds the lock.
_lock = threading.RLock()


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
            shared.users += 1
        self.client = shared.client
        # The driver closes at the interpreter's end by itself.
        weakref.finalize(self, _let_go, key).atexit = False


def _let_go(key: _Key) -> None:
    with _lock:
        shared = _clients[key]
        shared.users -= 1
        if shared.users:
            return
        del _clients[key]
    # To end its sessions the driver looks for a server, for as long as it may take to find one,
    # while the collector that has called this holds up whatever the process is at.
    threading.Thread(target=shared.client.close, name=CLOSING, daemon=True).start()


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
