"""A segment of a local index in a folder of its own, which never changes.

The folder holds

    segment.json     what the segment is, and a checksum of each other file; written last
    index.faiss      the vectors, and the graph where there is one
    ids.bson         ids of the documents, in chunks
    fields.npz       the filter columns
    signatures.npy   what each row was made of
    text.sqlite      the texts, where the index has them; see `text.postings`

An index of format 2 is one such folder without signatures, whose manifest is `index.json`.
"""

import shutil
from collections.abc import Mapping
from typing import Any, cast
from weakref import WeakValueDictionary

import bson
import numpy as np
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion

from resources.search_index.filters.columns import FilterColumn
from resources.search_index.local import faiss_index
from resources.search_index.local.files import (
    READ_BLOCK,
    Damaged,
    FolderReader,
    FolderWriter,
    reading,
)
from resources.search_index.local.segment import Segment
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.signatures import unknown
from resources.search_index.local.text.postings import TextSegment

IDS_PER_CHUNK = 10_000

FORMAT = 3
MANIFEST, INDEX_FILE, IDS_FILE, FIELDS_FILE = (
    "segment.json",
    "index.faiss",
    "ids.bson",
    "fields.npz",
)
SIGNATURES_FILE, TEXT_FILE = "signatures.npy", "text.sqlite"

_CODEC: CodecOptions = CodecOptions(
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,  # years that Python lacks
)
# By folder: versions share them, and a process looks at every byte of one once.
_open: WeakValueDictionary[str, Segment] = WeakValueDictionary()


def save_segment(segment: Segment, shape: IndexShape, folder: str) -> None:
    """Write a segment to a folder: a local path or any URL that fsspec knows."""
    out = FolderWriter(folder, MANIFEST)
    with out.file(INDEX_FILE) as file:
        faiss_index.write(segment.faiss_index, file.write)
    with out.file(IDS_FILE) as file:
        for start in range(0, len(segment), IDS_PER_CHUNK):
            chunk = segment.ids[start : start + IDS_PER_CHUNK]
            file.write(bson.encode({"ids": chunk}, codec_options=_CODEC))
    arrays = {
        f"{position}.{name}": values
        for position, path in enumerate(shape.filter_paths)
        for name, values in segment.columns[path].to_arrays().items()
    }
    with out.file(FIELDS_FILE) as file:
        np.savez(cast(Any, file), **cast(Any, arrays))
    with out.file(SIGNATURES_FILE) as file:
        np.save(cast(Any, file), segment.signatures)
    if segment.text is not None:
        with out.file(TEXT_FILE) as file, open(segment.text.path, "rb") as source:
            shutil.copyfileobj(source, file, READ_BLOCK)
    out.finish(
        {
            "format": FORMAT,
            "vectors": len(segment),
            "dimensions": shape.dimensions,
            "similarity": shape.similarity,
            "element": shape.element,
            "filter_paths": list(shape.filter_paths),
        }
    )


def open_segment(folder: str) -> Segment:
    """Open a saved segment; its vectors are mapped from the disk, not read into memory.

    Raises:
        SearchIndexError: It is not there, or not all of it.
    """
    segment = _open.get(folder)
    if segment is None:
        segment = reading(folder, MANIFEST, lambda reader: _read(reader, folder))
        _open[folder] = segment
    return segment


def _read(reader: FolderReader, folder: str) -> Segment:
    if reader.manifest["format"] != FORMAT:
        raise Damaged(f"is of format {reader.manifest['format']}, not {FORMAT}")
    return read_segment(reader, folder)


def read_segment(reader: FolderReader, folder: str) -> Segment:
    """Read the files of a segment.

    Raises:
        Damaged: They do not belong together.
        FileNotFoundError, ValueError, LookupError, TypeError, RuntimeError: They are not such.
    """
    manifest = reader.manifest
    index = faiss_index.read(reader.path(INDEX_FILE))
    with open(reader.path(IDS_FILE), "rb") as source:
        ids = [key for chunk in bson.decode_file_iter(source, _CODEC) for key in chunk["ids"]]
    with np.load(reader.path(FIELDS_FILE), allow_pickle=False) as stored:
        parts: list[dict[str, Any]] = [{} for _ in manifest["filter_paths"]]
        for key in stored.files:
            position, _, name = key.partition(".")
            parts[int(position)][name] = stored[key]
    columns = [
        FilterColumn.from_arrays(path, arrays)
        for path, arrays in zip(manifest["filter_paths"], parts, strict=True)
    ]
    signatures = unknown(len(ids))
    if manifest["format"] == FORMAT:
        signatures = np.load(reader.path(SIGNATURES_FILE), allow_pickle=False)
    text = TextSegment(*reader.kept(TEXT_FILE)) if TEXT_FILE in manifest["files"] else None
    counts = {index.ntotal, len(ids), len(signatures), *map(len, columns)}
    _check(manifest, index, counts if text is None else {*counts, len(text)})
    by_path = {column.path: column for column in columns}
    return Segment(ids, by_path, signatures, index, text, folder, manifest["files"])


def _check(manifest: Mapping[str, Any], index: Any, counts: set[int]) -> None:
    if counts != {manifest["vectors"]}:
        raise Damaged(f"does not hold the {manifest['vectors']} vectors of its manifest")
    metric = faiss_index.metric(manifest["similarity"])
    if (index.d, index.metric_type) != (manifest["dimensions"], metric):
        raise Damaged("has other dimensions or another similarity than its manifest")
