"""Files of a local index in a folder, on a disk or wherever fsspec reaches: whole, and checked.

A folder has a manifest, which is written last: until then it is no folder of ours. It names the
other files with the checksum of each.
"""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

import fsspec.core
from fsspec.implementations.local import LocalFileSystem

from resources.batch_store.reaching import reaching
from resources.core.errors import SearchIndexError
from resources.core.private import make_private

READ_BLOCK = 1 << 20

T = TypeVar("T")


class Damaged(Exception):
    """Why a folder is not what it should be, as the end of a sentence."""


class FolderWriter:
    """Writes the files of a folder, then its manifest.

    Args:
        url: A local path or any URL that fsspec knows.
        manifest: Name of the manifest.
    """

    def __init__(self, url: str, manifest: str) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._manifest = manifest
        self.written: dict[str, Any] = {}
        self._url = url
        if isinstance(self._files, LocalFileSystem):
            make_private(self._root)
        # Until all is replaced, it is none.
        with self._reaching(), suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{manifest}")

    def _reaching(self) -> AbstractContextManager[None]:
        local = isinstance(self._files, LocalFileSystem)
        return nullcontext() if local else reaching(self._url)

    @contextmanager
    def file(self, name: str) -> Iterator["_Output"]:
        """To write to; complete at the end of the block."""
        path = f"{self._root}/{name}"
        local = isinstance(self._files, LocalFileSystem)
        # On a disk, a new file takes the place of the old one: a reader may have that one mapped.
        # An object store shows an object only when it is complete.
        target = f"{path}.part" if local else path
        with self._reaching(), self._files.open(target, "wb") as opened:
            out = _Output(opened)
            yield out
        self._written(name, out, target if local else "")

    def _written(self, name: str, out: "_Output", part: str) -> None:
        if part:
            os.replace(part, f"{self._root}/{name}")
        self.written[name] = out.summary()

    def finish(self, manifest: Mapping[str, Any]) -> None:
        with self.file(self._manifest) as out:
            out.write(json.dumps({**manifest, "files": self._others()}, indent=2).encode())

    def _others(self) -> dict[str, Any]:
        return {name: found for name, found in self.written.items() if name != self._manifest}


class FolderReader:
    """Reads a folder's manifest, and the files that it names.

    Args:
        url: As `FolderWriter`.
        manifest: Name of the manifest.

    Raises:
        FileNotFoundError, ValueError: There is no manifest, or it is torn.
    """

    def __init__(self, url: str, manifest: str, stack: ExitStack) -> None:
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._stack, self._scratch = stack, ""
        self._files.invalidate_cache()  # another process may have written it since
        self._url = url
        with self._reaching():
            found = self._files.cat_file(f"{self._root}/{manifest}", start=0)
        self.manifest: dict[str, Any] = json.loads(found)

    def _reaching(self) -> AbstractContextManager[None]:
        return nullcontext() if self._local else reaching(self._url)

    def path(self, name: str) -> str:
        """A local path of a file, after a look at every byte of it.

        Raises:
            Damaged: It is not what was written.
        """
        copy = None if self._local else f"{self._folder()}/{name}"
        return self._checked(name, copy)

    def check_sizes(self) -> None:
        """Look whether every file is there and as long as it was written, without reading any.

        Raises:
            Damaged: One is not.
            FileNotFoundError: One is missing.
        """
        for name, expected in self.manifest["files"].items():
            with self._reaching():
                size = self._files.size(f"{self._root}/{name}")
            if size != expected.get("bytes", size):
                raise Damaged(f"holds a torn or foreign {name}")

    def kept(self, name: str) -> tuple[str, TemporaryDirectory | None]:
        """A local path of a file that is opened anew later; if it is a copy, the folder of it.

        Raises:
            Damaged: It is not what was written.
        """
        if self._local:
            return self._checked(name, None), None
        folder = TemporaryDirectory(prefix="search-index-")
        return self._checked(name, f"{folder.name}/{name}"), folder

    @property
    def _local(self) -> bool:
        return isinstance(self._files, LocalFileSystem)

    def _checked(self, name: str, copy: str | None) -> str:
        path, expected = f"{self._root}/{name}", self.manifest["files"][name]
        with ExitStack() as stack:
            stack.enter_context(self._reaching())
            source = stack.enter_context(self._files.open(path, "rb"))
            sink = None if copy is None else stack.enter_context(open(copy, "wb"))
            digest = hashlib.sha256()
            while block := cast(bytes, source.read(READ_BLOCK)):
                digest.update(block)
                if sink is not None:
                    sink.write(block)
        if digest.hexdigest() != expected["sha256"]:
            raise Damaged(f"holds a torn or foreign {name}")
        return copy or path

    def _folder(self) -> str:
        if not self._scratch:
            folder = TemporaryDirectory(prefix="search-index-")
            self._scratch = self._stack.enter_context(folder)
        return self._scratch


def reading(url: str, manifest: str, read: Callable[[FolderReader], T]) -> T:
    """Read a folder.

    Raises:
        SearchIndexError: It is not there, not all of it, or not what was written.
    """
    with ExitStack() as stack:
        try:
            return read(FolderReader(url, manifest, stack))
        except Damaged as problem:
            what = str(problem)
        except FileNotFoundError as error:
            what = f"lacks {Path(str(error.filename or error.args[-1])).name}"
        except (ValueError, LookupError, TypeError, RuntimeError) as error:
            what = f"cannot be read ({type(error).__name__}: {error})"
    raise SearchIndexError(
        f"the local search index in {url} {what}: materialize search_index again"
    )


class _Output(io.RawIOBase):
    """Passes on what is written, and sums it up."""

    def __init__(self, target: Any) -> None:
        self._target = target
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._target.write(data)
        self._sha256.update(data)
        self._bytes += len(data)
        return len(data)

    def summary(self) -> dict[str, Any]:
        return {"bytes": self._bytes, "sha256": self._sha256.hexdigest()}
