"""A server that answers on a socket, and what asks it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlencode

from pipelines.serving import server
from pipelines.serving.access import Access
from pipelines.serving.app import Application
from pipelines.serving.offered import Offered
from pipelines.serving.searchers import Searchers

DAGSTER = "http://dagster.example:3000"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one sentence of an answer that is none."""
        assert set(self.json) == {"error"}, self.body
        return self.json["error"]


@dataclass
class Site:
    """Where a server listens."""

    port: int
    application: Application
    token: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request; `sec_fetch_site` is the header Sec-Fetch-Site."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token and "authorization" not in given:
            given["authorization"] = f"Bearer {self.token}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, given)
            answer: HTTPResponse = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Reply:
        return self.ask("GET", path, **headers)

    def post(self, content: Any, path: str = "/search", **headers: str) -> Reply:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.ask("POST", path, body, **headers)

    def searched(self, **question: Any) -> list[dict[str, Any]]:
        """The hits of a question that is answered."""
        reply = self.post(question)
        assert reply.status == 200, reply.body
        return reply.json["answers"][0]["hits"]

    def spaces(self, name: str) -> list[dict[str, Any]]:
        """Of a pipeline, that can be asked."""
        reply = self.get(f"/pipelines/{name}")
        assert reply.status == 200, reply.body
        return reply.json["spaces"]

    def found(self, **parameters: Any) -> Reply:
        return self.get(f"/search?{urlencode(parameters, doseq=True)}")


@contextmanager
def serving(
    offered: Offered, *, token: str = "", searchers: Searchers | None = None
) -> Iterator[Site]:
    """A real server in a thread of this process."""
    own = server.bound("127.0.0.1", 0)
    hosts = server.access(own, "127.0.0.1", []).hosts
    application = Application(offered, Access(hosts, token=token), DAGSTER, searchers)
    running = server.configured(application)
    own.listen()
    port = own.getsockname()[1]  # asked of it before the server closes it
    thread = threading.Thread(target=running.run, kwargs={"sockets": [own]}, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not running.started:
        assert thread.is_alive()
        assert time.monotonic() < until
        time.sleep(0.01)
    try:
        yield Site(port, application, token)
    finally:
        running.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
