"""Files under one root, on a disk or in an object store: whole or not there, and checked.

A file appears whole or not at all: it is written under another name and then renamed; an object
store's upload is atomic by itself.
"""

import json
import re
import secrets
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from resources.batch_store.reaching import reaching, unreached
from resources.core.credentials import redacted
from resources.core.errors import BatchStoreError
from resources.core.private import make_private

PRUNED_AFTER = timedelta(hours=1)
_TEMPORARY = ".tmp"
_VERSION = re.compile(r"\d{8}T\d{6}(\d{6})?-[0-9a-f]{6}")


def version_name(at: datetime | None = None) -> str:
    """A new name for a plan or an index, which sorts by time: after older ones of whole seconds."""
    return f"{at or datetime.now(UTC):%Y%m%dT%H%M%S%f}-{secrets.token_hex(3)}"


class MissingFile(BatchStoreError):
    pass


class DamagedFile(BatchStoreError):
    """What was written is not what is there; the checksums tell."""


class Files:
    """Reads and writes by paths relative to a root.

    Raises:
        BatchStoreError: The root cannot be opened, or a file cannot be written or read.
    """

    def __init__(self, root: str) -> None:
        self._url = root
        try:
            with reaching(root):  # some connect at once
                self._fs, self._root = _opened(root)
        except FileNotFoundError as error:
            raise unreached(root, error) from error
        self._local = isinstance(self._fs, LocalFileSystem)

    def _reaching(self) -> AbstractContextManager[None]:
        # What a disk has against us is told where it says so.
        return nullcontext() if self._local else reaching(self._url)

    def check_writable(self) -> None:
        """Try it; a folder that is not there yet is not made for that.

        Raises:
            BatchStoreError: Nothing can be written here.
        """
        if not self._local:
            name = f".writable-{secrets.token_hex(4)}"
            self.write(name, b"")
            self.remove(name)
            return
        root = Path(self._root)
        existing = next(path for path in [root, *root.parents] if path.exists())
        try:
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise BatchStoreError(
                f"{root} is not writable ({error.strerror}): set EMBEDDINGS_HOME, or "
                "`batch_store: url`, to a folder of yours"
            ) from error

    def names(self, folder: str) -> list[str]:
        """What a folder holds, sorted; nothing where there is none."""
        # A listing kept from before another process wrote would hide its files.
        self._fs.invalidate_cache()
        try:
            with self._reaching():
                paths = self._fs.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in paths)

    def modified(self, path: str) -> datetime:
        try:
            with self._reaching():
                return self._fs.modified(self._path(path))
        except FileNotFoundError:  # removed since it was listed
            return datetime.max.replace(tzinfo=UTC)

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, or a folder with all in it; another run may be removing it as well."""
        with suppress(FileNotFoundError), self._reaching():
            if recursive:
                self._fs.rm(self._path(path), recursive=True)
            else:  # one request, where `rm` looks around first
                self._fs.rm_file(self._path(path))

    def prune(
        self,
        folder: str,
        keep: Sequence[str],
        spare: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """Remove versions that are neither kept nor young: another run may be using those.

        Nor newer than what is kept: to a process that was frozen those may look old. `spare` is
        asked about those that would go.
        """
        limit = min([version_name(datetime.now(UTC) - PRUNED_AFTER), *keep])
        for name in self.names(folder):
            old = _VERSION.fullmatch(name) and name < limit and name not in keep
            if old and not spare(name):
                self.remove(f"{folder}/{name}", recursive=True)

    def sweep(self, folder: str) -> None:
        """Remove what killed runs had half written in the folders of a folder."""
        if not self._local:  # an upload is whole or not there
            return
        limit = datetime.now(UTC) - PRUNED_AFTER
        for inner in self.names(folder):
            for name in self.names(f"{folder}/{inner}"):
                path = f"{folder}/{inner}/{name}"
                if name.endswith(_TEMPORARY) and self.modified(path) < limit:
                    self.remove(path)

    def read_json(self, path: str) -> Any:
        """Raises FileNotFoundError where there is none, ValueError where it is damaged."""
        with self._reaching():
            found = self._whole(self._path(path))
        return json.loads(found)

    def write_json(self, path: str, value: Any) -> None:
        self.write(path, json.dumps(value, indent=1, default=str).encode())

    def read_table(
        self, path: str, columns: list[str] | None = None, *, if_there: str | None = None
    ) -> pa.Table:
        """A Parquet file; every page has a checksum, which is looked at.

        Args:
            path: Under the root.
            columns: To read; all by default.
            if_there: One more, that older files do not have.

        Raises:
            MissingFile: There is none.
            DamagedFile: It is not what was written.
        """
        whole = self._path(path)
        try:
            with self._reaching(), self._readable(whole, columns) as file:
                if columns and if_there:
                    # Unlike `read_table`, it knows the columns before it reads any.
                    found = pq.ParquetFile(file, pre_buffer=True, page_checksum_verification=True)
                    more = [if_there] if if_there in found.schema_arrow.names else []
                    return found.read(columns=[*columns, *more])
                return pq.read_table(file, columns=columns, page_checksum_verification=True)
        except FileNotFoundError as error:
            raise MissingFile(
                f"{whole} is missing: materialize the whole pipeline, which makes it again"
            ) from error
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            # A file system's error has a number; what Arrow finds wrong in the data has none.
            if isinstance(error, OSError) and error.errno is not None:
                raise BatchStoreError(f"{whole} cannot be read: {reason}") from error
            raise DamagedFile(
                f"{whole} is damaged ({reason}): materialize the whole pipeline, which makes it "
                "again"
            ) from error

    def _readable(self, whole: str, columns: list[str] | None) -> Any:
        if self._local or columns:
            return self._fs.open(whole, "rb")
        return pa.BufferReader(self._whole(whole))

    def _whole(self, path: str) -> bytes:
        # In one request: s3fs asks how long a file is first, unless it is told where to begin.
        return self._fs.cat_file(path, start=0)

    def write_table(self, table: pa.Table, path: str, **options: Any) -> int:
        """Write a Parquet file; returns its bytes."""
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_page_checksum=True, **options)
        data = sink.getvalue()
        self.write(path, data.to_pybytes())
        return data.size

    def write(self, path: str, data: bytes) -> None:
        whole = self._path(path)
        try:
            if not self._local:
                with reaching(self._url):
                    self._fs.pipe_file(whole, data)
                return
            make_private(whole.rsplit("/", 1)[0])
            temporary = f"{whole}.{secrets.token_hex(4)}{_TEMPORARY}"
            try:
                self._fs.pipe_file(temporary, data)
                self._fs.mv(temporary, whole)
            except OSError:
                with suppress(OSError):
                    self._fs.rm(temporary)
                raise
        except OSError as error:
            raise BatchStoreError(
                f"{whole} cannot be written: {error.strerror or error}; choose another "
                "`batch_store: url`, or make room"
            ) from error

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"


def _opened(root: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(root)
    except (ImportError, ValueError) as error:  # a file system not installed, or unknown
        raise BatchStoreError(
            f"batch_store has `url: {redacted(root)}`, which cannot be opened: {error}; install "
            "what it needs, or choose a folder"
        ) from error
