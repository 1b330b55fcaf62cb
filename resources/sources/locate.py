"""Files of a source, wherever fsspec reaches: found, opened, and failing in one sentence."""

import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import fsspec.core
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from resources.core.credentials import redacted
from resources.core.errors import SourceError
from resources.core.paths import find_project, input_path, is_url, project_root

# A truncated or damaged archive raises one of the last three, depending on its format.
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True, slots=True)
class FoundFile:
    filesystem: AbstractFileSystem
    path: str

    @property
    def name(self) -> str:
        """The file as a person would name it: relative to the project, if it lies there."""
        return _name(self.filesystem, self.path)

    @contextmanager
    def reading(self, **how: Any) -> Iterator[Any]:
        """The open file; what goes wrong with it while it is open is a SourceError."""
        try:
            stream = self.filesystem.open(self.path, **how)
        except (*UNREADABLE, ImportError, ValueError) as error:
            raise self.unreadable(error) from error
        try:
            with stream:
                yield stream
        except UNREADABLE as error:
            raise self.unreadable(error) from error

    def unreadable(self, error: BaseException) -> SourceError:
        remote = isinstance(error, OSError) and not isinstance(self.filesystem, LocalFileSystem)
        return SourceError(f"{self.name} cannot be read: {cause(error)}", passing=remote)


def cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip() or type(error).__name__


def find_files(path: str) -> list[FoundFile]:
    """The file at a path or URL, or the files that a glob matches, in sorted order."""
    place = _look_up(path)
    if place.type == "directory":
        raise SourceError(
            f"{shown(path)} is a folder: name a file in it, or a glob such as {shown(path)}/*"
        )
    if place.type is not None:
        return [FoundFile(place.filesystem, place.root)]
    if not re.search(r"[*?\[]", place.root):
        raise SourceError(f"there is no file {shown(path)}{place.hint}")
    try:
        matches: Any = place.filesystem.glob(place.root, detail=True)
    except UNREADABLE as error:
        raise SourceError(f"{shown(path)} cannot be listed: {cause(error)}") from error
    names = sorted(name for name, match in matches.items() if match["type"] == "file")
    if not names:
        raise SourceError(f"no file matches {shown(path)}{place.hint}")
    return [FoundFile(place.filesystem, name) for name in names]


def find_folder(path: str) -> tuple[AbstractFileSystem, str]:
    place = _look_up(path)
    if place.type is None:
        raise SourceError(f"there is no folder {shown(path)}{place.hint}")
    if place.type != "directory":
        raise SourceError(f"{shown(path)} is a file: name the folder that it lies in")
    return place.filesystem, place.root


class _Place(NamedTuple):
    filesystem: AbstractFileSystem
    root: str
    type: str | None  # None: nothing is there
    hint: str = ""


def _look_up(path: str) -> _Place:
    try:
        filesystem, root = fsspec.core.url_to_fs(input_path(path))
        try:
            return _Place(filesystem, root, filesystem.info(root)["type"])
        except FileNotFoundError as error:
            return _Place(filesystem, root, None, _hint(path, error))
    # Each of fsspec's backends fails with errors of its own: a missing driver, wrong credentials.
    except Exception as error:
        raise SourceError(f"{shown(path)} cannot be read: {cause(error)}") from error


def _hint(path: str, error: FileNotFoundError) -> str:
    # Over HTTP a refused connection or an expired signature is a "file not found" too.
    if error.__cause__ is not None and not isinstance(error.__cause__, FileNotFoundError):
        return f" ({shown(cause(error.__cause__))})"
    if is_url(path) or Path(path).expanduser().is_absolute():
        return ""
    return f" (a relative path starts at {project_root()})"


def _name(filesystem: AbstractFileSystem, path: str) -> str:
    protocols = filesystem.protocol
    if "file" not in ((protocols,) if isinstance(protocols, str) else protocols):
        return shown(filesystem.unstrip_protocol(path))
    root = find_project()
    return path.removeprefix(f"{root.as_posix()}/") if root else path


def shown(path: str) -> str:
    """A path or URL without its credentials: it goes into messages and metadata."""
    return redacted(path)


def location(path: str) -> str:
    """The URI of what the configuration names."""
    return shown(path) if is_url(path) else Path(input_path(path)).as_uri()
