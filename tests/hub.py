"""A model hub on a socket: as much of its API as fetching a model takes, as slow as is wanted."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a" * 40
_BLOCK = 1 << 16


@contextmanager
def hub(name: str, folder: Path, bytes_per_second: float = float("inf")) -> Iterator[str]:
    """Serves a folder as the model `name`; gives the hub's address."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            path = self.path.split("?")[0]
            if path == f"/api/models/{name}/revision/main":
                listed = [{"rfilename": file} for file in files]
                self._json({"id": name, "modelId": name, "sha": COMMIT, "siblings": listed})
            elif path == f"/api/models/{name}/tree/{COMMIT}":
                self._json(
                    [
                        {"type": "file", "path": file, "size": len(data), "oid": _oid(data)}
                        for file, data in files.items()
                    ]
                )
            elif (data := files.get(path.removeprefix(f"/{name}/resolve/{COMMIT}/"))) is not None:
                self._send(data, {"ETag": f'"{_oid(data)}"', "X-Repo-Commit": COMMIT})
            else:
                self._send(b"", {"X-Error-Code": "RepoNotFound"}, status=404)

        def _json(self, value: object) -> None:
            self._send(json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _send(self, data: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            for at in range(0, len(data), _BLOCK):
                block = data[at : at + _BLOCK]
                self.wfile.write(block)
                time.sleep(len(block) / bytes_per_second)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
