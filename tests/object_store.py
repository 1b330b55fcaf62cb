"""An S3 server on a real socket that counts its requests, and misbehaves when told to.

moto's own server keeps the objects; what is between it and the socket is ours.
"""

import re
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import unquote

import pytest

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "ada",
    "AWS_SECRET_ACCESS_KEY": "sekret9",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
BUCKET = "there"
_EXPIRED = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>ExpiredToken</Code>'
    b"<Message>The provided token has expired.</Message></Error>"
)
_ENTRY = re.compile(rb"<(Contents|CommonPrefixes)>.*?</\1>", re.DOTALL)


class ObjectStore:
    """Its faults may be set from any thread while it runs.

    Attributes:
        calls: Requests: method, path with what is asked of it.
        expired: Asked about a request: whether it is refused, its credentials having expired.
        cut: Asked about a request with a body: whether the connection is cut in the middle of it.
        hidden: Asked about a path under the bucket: whether listings do not show it yet.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self.calls: list[tuple[str, str]] = []
        self.expired: Callable[[str, str], bool] = lambda method, path: False
        self.cut: Callable[[str, str], bool] = lambda method, path: False
        self.hidden: Callable[[str], bool] = lambda path: False
        self.cuts = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        listing = method == "GET" and "list-type" in environ["QUERY_STRING"]
        self.calls.append(("LIST" if listing else method, path))
        if self.expired(method, path):
            kind = [("Content-Type", "application/xml"), ("Content-Length", str(len(_EXPIRED)))]
            start_response("403 Forbidden", kind)
            return [] if method == "HEAD" else [_EXPIRED]
        if method == "PUT" and self.cut(method, path):
            self.cuts += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0) // 2)
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if not listing:
            return self._app(environ, start_response)
        return self._listed(environ, start_response)

    def _listed(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        told: list[Any] = []
        body = b"".join(self._app(environ, lambda *answer: told.extend(answer)))

        def shown(found: re.Match[bytes]) -> bytes:
            name = re.search(rb"<(?:Key|Prefix)>(.*?)</", found[0])
            return b"" if name and self.hidden(unquote(name[1].decode())) else found[0]

        body = _ENTRY.sub(shown, body)
        headers = [each for each in told[1] if each[0].lower() != "content-length"]
        start_response(told[0], [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def counted(self) -> Counter[str]:
        """Requests since the last call, by method."""
        found = Counter(method for method, _ in self.calls)
        self.calls.clear()
        return found

    def well(self) -> None:
        """No faults from here on."""
        self.expired = self.cut = lambda method, path: False
        self.hidden = lambda path: False


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """With the bucket `there`; s3fs finds it by the environment."""
    s3fs = pytest.importorskip("s3fs", reason="no s3fs: pip install '.[s3]'")
    moto = pytest.importorskip("moto.server", reason="no moto: pip install 'moto[server]'")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any, **__: Any) -> None:
            pass

    app = moto.DomainDispatcherApplication(moto.create_backend_app)
    store = ObjectStore(app)
    server = make_server("127.0.0.1", 0, store, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with suppress(FileExistsError):  # moto keeps what it has for the whole process
            s3fs.S3FileSystem().mkdir(BUCKET)
        store.calls.clear()
        yield store
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.shutdown()
        thread.join()
        server.server_close()
