"""Where files are found, and what is said where they are not."""

import functools
import gzip
import http.server
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.registry import _registry

from resources.core.errors import SourceError
from resources.sources.records import SourceDocument
from tests.resources.sources.reading import lines, read, source, write


def test_compressed_files_globs_and_limit(tmp_path: Path) -> None:
    for n in (2, 1):
        (tmp_path / f"part-{n}.jsonl.gz").write_bytes(
            gzip.compress(lines(*({"_id": f"{n}{i}", "text": "a"} for i in range(3))).encode())
        )
    (tmp_path / "part-folder.jsonl.gz").mkdir()
    pattern = {"jsonl": {"path": f"{tmp_path}/part-*.jsonl.gz"}}
    ids = ["10", "11", "12", "20", "21", "22"]
    assert [document.id for document in read(source(pattern))[0]] == ids
    assert [document.id for document in read(source(pattern, limit=4))[0]] == ids[:4]
    assert len(read(source(pattern, limit=99))[0]) == 6


def test_urls() -> None:
    fsspec.filesystem("memory").pipe("/films/a.jsonl", lines({"text": "a"}).encode())
    for path in ("memory://films/a.jsonl", "memory://films/*.jsonl"):
        _, rejections = read(source({"jsonl": {"path": path}}))
        assert [rejection.where for rejection in rejections] == ["memory:///films/a.jsonl:1"]
        assert source({"jsonl": {"path": path}}).uri() == path


def test_paths_start_at_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDDINGS_PROJECT", str(tmp_path))
    write(tmp_path / "data" / "a.jsonl", lines({"_id": 1, "text": ""}))
    resource = source({"jsonl": {"path": "data/a.jsonl"}})
    assert read(resource)[1][0].where == "data/a.jsonl:1"
    assert resource.describe() == "jsonl data/a.jsonl"
    assert resource.uri() == f"file://{tmp_path}/data/a.jsonl"
    with pytest.raises(SourceError, match=f"there is no file b.jsonl .*starts at {tmp_path}"):
        read(source({"jsonl": {"path": "b.jsonl"}}))


def test_credentials_stay_out_of_messages_and_metadata() -> None:
    url = "nope://me:secret@host/a.jsonl"
    resource = source({"jsonl": {"path": url}})
    with pytest.raises(SourceError) as raised:
        read(resource)
    signed = source({"jsonl": {"path": "https://host/a.jsonl?token=secret"}})
    for text in (str(raised.value), resource.uri(), resource.describe(), signed.uri()):
        assert text
        assert "secret" not in text
        assert "host/a.jsonl" in text


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server of the folder `web`, with one address that is forbidden."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002

        def do_GET(self) -> None:
            if self.path.startswith("/signed?expired"):
                self.send_error(403)
            else:
                super().do_GET()

        do_HEAD = do_GET

    handler = functools.partial(Handler, directory=tmp_path / "web")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_files_of_the_web(web: str, tmp_path: Path) -> None:
    content = lines({"_id": "1", "text": "a"})
    write(tmp_path / "web" / "a.jsonl", content)
    write(tmp_path / "web" / "b.jsonl.gz", gzip.compress(content.encode()))
    write(tmp_path / "web" / "c.csv", "_id,text\n1,a\n")
    for kind, name in (
        ("jsonl", "a.jsonl"),
        ("jsonl", "a.jsonl?signed=x"),
        ("jsonl", "b.jsonl.gz"),
        ("csv", "c.csv"),
    ):
        assert read(source({kind: {"path": f"{web}/{name}"}}))[0] == [SourceDocument("1", "a")]
    for path, sentence in (
        (f"{web}/none.jsonl", f"there is no file {web}/none.jsonl .*404"),
        (f"{web}/signed?expired=secret", f"no file matches {web}/signed .*403"),
        ("http://127.0.0.1:1/a", "there is no file http://127.0.0.1:1/a .*[Cc]onnect"),
    ):
        with pytest.raises(SourceError, match=sentence) as raised:
            read(source({"jsonl": {"path": path}}))
        assert "secret" not in str(raised.value)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_files_that_are_not_there(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: str, sentence: str) -> None:
        with pytest.raises(SourceError, match=sentence):
            read(source({kind: {"path": path}}))

    fails(f"{tmp_path}/none", f"^there is no file {tmp_path}/none$")
    fails(f"{tmp_path}/*.none", "^no file matches .*none$")
    fails(str(tmp_path), "is a folder: name a file in it, or a glob")
    with monkeypatch.context() as absent:
        absent.setitem(sys.modules, "s3fs", None)
        absent.delitem(_registry, "s3", raising=False)  # if it was used before
        fails("s3://bucket/key", "s3://bucket/key cannot be read: Install s3fs")
    fails("nope://x/y", "nope://x/y cannot be read: Protocol not known: nope")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path / "mine", "x")
    monkeypatch.setattr(LocalFileSystem, "_open", refuse)  # a test run by root cannot be refused
    fails(path, f"^{path} cannot be read: Permission denied$")


@pytest.mark.parametrize(
    "damaged", [b"plain text", gzip.compress(b'{"_id": 1, "text": "a"}\n' * 9999)[:-20]]
)
def test_damaged_archives(tmp_path: Path, damaged: bytes) -> None:
    with pytest.raises(SourceError, match=r"a\.jsonl\.gz cannot be read: "):
        read(source({"jsonl": {"path": write(tmp_path / "a.jsonl.gz", damaged)}}))
