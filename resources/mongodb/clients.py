"""One client a process for each deployment: it has threads of its own, and a pool of sockets."""

import os
import threading
from dataclasses import dataclass

from pymongo import MongoClient


@dataclass
class _Shared:
    client: MongoClient
    users: int = 0


_clients: dict[tuple[int, str, float], _Shared] = {}
_lock = threading.Lock()


class ClientHandle:
    """A share of the process's client; the last who lets go closes it.

    Args:
        uri: Connection string.
        timeout_seconds: How long to look for a server.
    """

    def __init__(self, uri: str, timeout_seconds: float) -> None:
        self.uri = uri
        # A client does not survive a fork.
        self._key = (os.getpid(), uri, timeout_seconds)
        with _lock:
            if self._key not in _clients:
                _clients[self._key] = _Shared(_connect(uri, timeout_seconds))
            shared = _clients[self._key]
            shared.users += 1
        self.client = shared.client

    def close(self) -> None:
        with _lock:
            shared = _clients[self._key]
            shared.users -= 1
            if not shared.users:
                del _clients[self._key]
                shared.client.close()


def _connect(uri: str, timeout_seconds: float) -> MongoClient:
    return MongoClient(
        uri,
        serverSelectionTimeoutMS=int(timeout_seconds * 1000),
        appname="mongodb-embedding-pipelines",
        uuidRepresentation="standard",
        # A date that Python cannot hold would end a whole read, or hide an error reply.
        datetime_conversion="DATETIME_AUTO",
    )
