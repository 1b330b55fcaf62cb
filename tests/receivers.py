"""Receivers of alerts: an HTTP server and an SMTP server that keep what they are sent."""

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_string
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook(ThreadingHTTPServer):
    """Answers every POST with `status`.

    Attributes:
        posted: The bodies, as JSON.
        arrived: Set with the first.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Post)
        self.posted: list[dict[str, Any]] = []
        self.arrived = threading.Event()
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/T0/very-secret-path"


class _Post(BaseHTTPRequestHandler):
    server: Webhook  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        self.server.posted.append(json.loads(self.rfile.read(length)))
        self.send_response(self.server.status)
        self.end_headers()
        self.server.arrived.set()

    def log_message(self, *args: Any) -> None:
        pass


class Mailbox(socketserver.ThreadingTCPServer):
    """Speaks as much of SMTP as smtplib needs.

    Attributes:
        messages: What was sent.
        logins: What clients authenticated with, as they sent it.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.messages: list[Message] = []
        self.logins: list[str] = []

    @property
    def port(self) -> int:
        return self.server_address[1]


class _Session(socketserver.StreamRequestHandler):
    server: Mailbox  # pyright: ignore[reportIncompatibleVariableOverride]

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        self._say("220 mailbox")
        while line := self.rfile.readline().decode().strip():
            verb = line.split()[0].upper()
            if verb == "EHLO":
                self._say("250-mailbox")
                self._say("250 AUTH PLAIN")
            elif verb == "AUTH":
                self.server.logins.append(line.split()[-1])
                self._say("235 come in")
            elif verb == "DATA":
                self._say("354 go on")
                lines = iter(lambda: self.rfile.readline().decode().rstrip("\r\n"), ".")
                self.server.messages.append(message_from_string("\n".join(lines)))
                self._say("250 kept")
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say("250 well")


@contextmanager
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield from _serving(server)


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        yield from _serving(server)


def _serving(server: Any) -> Iterator[Any]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
