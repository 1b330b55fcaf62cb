"""Whether the files of a source are others than before: a name of their sizes and their dates."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec.core

from resources.core.errors import SourceError
from resources.core.paths import input_path
from resources.sources.files import FileOrigin
from resources.sources.folder import FolderOrigin
from resources.sources.locate import UNREADABLE, cause, find_files, shown

_TELLS = ("size", "mtime", "ETag", "etag", "LastModified", "last_modified", "updated", "generation")
"""What file systems say of a file that changes with it; each says some of it."""


def state_of(origin: FileOrigin | FolderOrigin) -> str:
    """Another one after every change of the files, as far as their file system tells; none is read.

    Raises:
        SourceError: They are not there, or cannot be listed.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        for name, info in sorted(_listed(origin), key=lambda each: each[0]):
            told = [(tell, str(info[tell])) for tell in _TELLS if info.get(tell) is not None]
            found.update(repr((name, told)).encode("utf-8", "surrogatepass"))
    except UNREADABLE as error:
        raise SourceError(f"{shown(origin.path)} cannot be looked at: {cause(error)}") from error
    return found.hexdigest()


def _listed(origin: FileOrigin | FolderOrigin) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(origin, FolderOrigin):
        yield from origin.listed()
        return
    filesystem, _ = fsspec.core.url_to_fs(input_path(origin.path))
    filesystem.invalidate_cache()  # else an object store's listing is the one of last time
    for file in find_files(origin.path):
        yield file.path, file.filesystem.info(file.path)
