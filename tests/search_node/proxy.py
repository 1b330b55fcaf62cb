"""The proxy: passes on what is not about search, and has the rest answered."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pymongo.uri_parser import parse_uri

from tests.search_node import wire
from tests.search_node.server import SearchNode


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, node: SearchNode, upstream: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.node, self.upstream = node, upstream
        self.sockets: set[socket.socket] = set()


class _Connection(socketserver.BaseRequestHandler):
    server: _Proxy  # pyright: ignore[reportIncompatibleVariableOverride]

    def handle(self) -> None:
        with socket.create_connection(self.server.upstream) as mongod:
            self.server.sockets |= {mongod, self.request}
            try:
                with suppress(OSError):
                    while (message := wire.read(self.request)) is not None:
                        self._pass(message, mongod)
            finally:
                self.server.sockets -= {mongod, self.request}

    def _pass(self, message: wire.Message, mongod: socket.socket) -> None:
        if message.code == wire.OP_MSG:
            answer = self.server.node.answer(message.body)
            if answer is not None:
                self.request.sendall(wire.reply(message, answer))
                return
            mongod.sendall(message.without_exhaust())
            if message.flags & wire.MORE_TO_COME:
                return
        else:
            mongod.sendall(message.raw)
        reply = wire.read(mongod)
        if reply is None:
            raise ConnectionError
        self.request.sendall(reply.raw)


@contextmanager
def search_node(mongod_uri: str) -> Iterator[SearchNode]:
    """A stand-in in front of a mongod, for as long as the block runs."""
    node = SearchNode(mongod_uri)
    ((host, port),) = parse_uri(mongod_uri)["nodelist"]
    with _Proxy(node, (host, port)) as proxy:
        node.uri = f"mongodb://127.0.0.1:{proxy.server_address[1]}/?directConnection=true"
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield node
        finally:
            proxy.shutdown()
            thread.join()
            for connection in list(proxy.sockets):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            node.client.close()
