"""A local index saved to a folder, on a disk or wherever fsspec reaches, and loaded from it.

The folder holds

    index.json     what the index is, and a checksum of each other file; written last
    index.faiss    the vectors, and the graph where there is one
    ids.bson       ids of the documents, in chunks
    fields.npz     the filter columns
"""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import bson
import fsspec.core
import numpy as np
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from fsspec.implementations.local import LocalFileSystem

from resources.core.errors import SearchIndexError
from resources.search_index.filters.columns import FilterColumn
from resources.search_index.local import faiss_index
from resources.search_index.local.index import LocalIndex

IDS_PER_CHUNK = 10_000
READ_BLOCK = 1 << 20

FORMAT = 2
MANIFEST, INDEX_FILE, IDS_FILE, FIELDS_FILE = "index.json", "index.faiss", "ids.bson", "fields.npz"

_CODEC: CodecOptions = CodecOptions(
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,  # years that Python lacks
)


def save_index(index: LocalIndex, folder_url: str) -> None:
    """Writes an index to a folder: a local path or any URL that fsspec knows."""
    files, root = fsspec.core.url_to_fs(folder_url)
    files.makedirs(root, exist_ok=True)
    if files.exists(f"{root}/{MANIFEST}"):  # until all is replaced, the folder is no index
        files.rm(f"{root}/{MANIFEST}")
    written: dict[str, Any] = {}
    with _writing(files, root, INDEX_FILE, written) as out:
        faiss_index.write(index.faiss_index, out.write)
    with _writing(files, root, IDS_FILE, written) as out:
        for start in range(0, len(index), IDS_PER_CHUNK):
            chunk = index.ids[start : start + IDS_PER_CHUNK]
            out.write(bson.encode({"ids": chunk}, codec_options=_CODEC))
    arrays = {
        f"{position}.{name}": values
        for position, column in enumerate(index.columns.values())
        for name, values in column.to_arrays().items()
    }
    with _writing(files, root, FIELDS_FILE, written) as out:
        np.savez(cast(Any, out), **cast(Any, arrays))
    manifest = {
        "format": FORMAT,
        "vectors": len(index),
        "dimensions": index.dimensions,
        "similarity": index.similarity,
        "element": index.element,
        "filter_paths": list(index.columns),
        "files": written,
    }
    with _writing(files, root, MANIFEST, {}) as out:
        out.write(json.dumps(manifest, indent=2).encode())


def load_index(folder_url: str) -> LocalIndex:
    """Opens a saved index; its vectors are mapped from the disk, not read into memory.

    Raises:
        SearchIndexError: no index there, or not all of one.
    """
    files, root = fsspec.core.url_to_fs(folder_url)
    files.invalidate_cache()  # another process may have written it since
    with ExitStack() as stack:
        try:
            manifest = json.loads(files.cat_file(f"{root}/{MANIFEST}"))
            if manifest["format"] != FORMAT:
                raise _Damaged(f"is of format {manifest['format']}, not {FORMAT}")
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="search-index-"))
            paths = {
                name: _verified(files, f"{root}/{name}", manifest["files"][name], scratch)
                for name in (INDEX_FILE, IDS_FILE, FIELDS_FILE)
            }
            return _read(manifest, paths)
        except _Damaged as problem:
            what = str(problem)
        except FileNotFoundError as error:
            what = f"lacks {Path(str(error.filename or error.args[-1])).name}"
        except (ValueError, LookupError, TypeError, RuntimeError) as error:
            what = f"cannot be read ({type(error).__name__}: {error})"
    raise SearchIndexError(
        f"the local search index in {folder_url} {what}: materialize search_index again"
    )


class _Damaged(Exception):
    """Why a folder is not an index, as the end of a sentence."""


def _read(manifest: Mapping[str, Any], paths: Mapping[str, str]) -> LocalIndex:
    index = faiss_index.read(paths[INDEX_FILE])
    with open(paths[IDS_FILE], "rb") as source:
        ids = [key for chunk in bson.decode_file_iter(source, _CODEC) for key in chunk["ids"]]
    with np.load(paths[FIELDS_FILE], allow_pickle=False) as stored:
        parts: list[dict[str, Any]] = [{} for _ in manifest["filter_paths"]]
        for key in stored.files:
            position, _, name = key.partition(".")
            parts[int(position)][name] = stored[key]
    columns = [
        FilterColumn.from_arrays(path, arrays)
        for path, arrays in zip(manifest["filter_paths"], parts, strict=True)
    ]
    count = manifest["vectors"]
    if {index.ntotal, len(ids), *map(len, columns)} != {count}:
        raise _Damaged(f"does not hold the {count} vectors of its {MANIFEST}")
    similarity = manifest["similarity"]
    if (index.d, index.metric_type) != (manifest["dimensions"], faiss_index.metric(similarity)):
        raise _Damaged(f"has other dimensions or another similarity than its {MANIFEST}")
    return LocalIndex(index, similarity, ids, columns, manifest["element"])


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


@contextmanager
def _writing(files: Any, root: str, name: str, written: dict[str, Any]) -> Iterator[_Output]:
    path = f"{root}/{name}"
    local = isinstance(files, LocalFileSystem)
    # On a disk, a new file takes the place of the old one: a reader may have that one mapped. An
    # object store shows an object only when it is complete.
    target = f"{path}.part" if local else path
    with files.open(target, "wb") as opened:
        out = _Output(opened)
        yield out
    if local:
        os.replace(target, path)
    written[name] = out.summary()


def _verified(files: Any, path: str, expected: Mapping[str, Any], scratch: str) -> str:
    """A local path of the file, after a look at every byte of it."""
    name = path.rpartition("/")[2]
    copy = None if isinstance(files, LocalFileSystem) else f"{scratch}/{name}"
    with ExitStack() as stack:
        source = stack.enter_context(files.open(path, "rb"))
        sink = None if copy is None else stack.enter_context(open(copy, "wb"))
        digest = hashlib.sha256()
        while block := cast(bytes, source.read(READ_BLOCK)):
            digest.update(block)
            if sink is not None:
                sink.write(block)
    if digest.hexdigest() != expected["sha256"]:
        raise _Damaged(f"holds a torn or foreign {name}")
    return copy or path
