"""A version of a local index in a folder: small, for it names segments that versions share.

The folder `<index>/<version>` holds

    index.json     what the index is, its segments, and a checksum of the other file; written last
    deleted.npz    by segment, the bits of its deleted rows

and the segments are in `<index>/segments/<segment>`. Of format 2, the version is a segment itself.
"""

import json
from collections.abc import Sequence
from typing import Any, cast

import fsspec.core
import numpy as np

from resources.search_index.filters.columns import Mask
from resources.search_index.local import faiss_index
from resources.search_index.local.files import Damaged, FolderReader, FolderWriter, reading
from resources.search_index.local.saved_segment import MANIFEST as SEGMENT_MANIFEST
from resources.search_index.local.saved_segment import open_segment, read_segment
from resources.search_index.local.segment import Segment
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.version import Version

FORMAT = 3
MANIFEST, DELETED_FILE = "index.json", "deleted.npz"
SEGMENTS = "segments"


def segment_folder(index: str, segment: str) -> str:
    return f"{index}/{SEGMENTS}/{segment}"


def save_version(
    index: str,
    name: str,
    shape: IndexShape,
    segments: Sequence[tuple[str, int]],
    deleted: Sequence[Mask | None],
) -> None:
    """Write a version, whose segments are saved already.

    Args:
        index: The folder of all versions.
        name: Of the version.
        shape: Of its segments.
        segments: Name and rows of each.
        deleted: By segment (rows,), which of them are deleted.
    """
    out = FolderWriter(f"{index}/{name}", MANIFEST)
    bits = {str(at): np.packbits(mask) for at, mask in enumerate(deleted) if mask is not None}
    with out.file(DELETED_FILE) as file:
        np.savez(cast(Any, file), **cast(Any, bits))
    out.finish(
        {
            "format": FORMAT,
            "vectors": sum(
                rows - (0 if mask is None else int(mask.sum()))
                for (_, rows), mask in zip(segments, deleted, strict=True)
            ),
            "shape": {**vars(shape), "filter_paths": list(shape.filter_paths)},
            "segments": [{"name": segment, "rows": rows} for segment, rows in segments],
        }
    )


def open_version(index: str, name: str) -> Version:
    """Open a saved version; what is open already of its segments is not read again.

    Raises:
        SearchIndexError: It is not there, or not all of it.
    """
    return reading(f"{index}/{name}", MANIFEST, lambda reader: _read(reader, index, name))


def glance(index: str, name: str) -> int:
    """How many vectors a version says that it holds; reads manifests only.

    Raises:
        SearchIndexError: One of its files is not there, or not as long as it was.
    """
    manifest = reading(f"{index}/{name}", MANIFEST, _sized)
    for segment in manifest.get("segments", []):
        reading(segment_folder(index, segment["name"]), SEGMENT_MANIFEST, _sized)
    return int(manifest["vectors"])


def _sized(reader: FolderReader) -> dict[str, Any]:
    reader.check_sizes()
    return reader.manifest


def _read(reader: FolderReader, index: str, name: str) -> Version:
    manifest = reader.manifest
    if manifest["format"] == 2:
        return _read_earlier(reader, index, name)
    if manifest["format"] != FORMAT:
        raise Damaged(f"is of format {manifest['format']}, not {FORMAT}")
    shape = IndexShape(
        **{**manifest["shape"], "filter_paths": tuple(manifest["shape"]["filter_paths"])}
    )
    segments = [
        open_segment(segment_folder(index, segment["name"])) for segment in manifest["segments"]
    ]
    deleted: list[Mask | None] = [None] * len(segments)
    with np.load(reader.path(DELETED_FILE), allow_pickle=False) as stored:
        for key in stored.files:
            rows = len(segments[int(key)])
            deleted[int(key)] = np.unpackbits(stored[key], count=rows).astype(np.bool_)
    for segment, said in zip(segments, manifest["segments"], strict=True):
        _check(segment, said["rows"], shape)
    version = Version(shape, segments, deleted, name)
    if len(version) != manifest["vectors"]:
        raise Damaged(f"does not hold the {manifest['vectors']} vectors of its {MANIFEST}")
    return version


def _check(segment: Segment, rows: int, shape: IndexShape) -> None:
    if len(segment) != rows or tuple(segment.columns) != tuple(shape.filter_paths):
        raise Damaged(f"has a segment {segment.name} that is not the one of its {MANIFEST}")
    if (None if segment.text is None else segment.text.tokenizer) != shape.tokenizer:
        raise Damaged(f"has a segment {segment.name} with other texts than its {MANIFEST} says")
    found = segment.faiss_index
    if (found.d, found.metric_type) != (shape.dimensions, faiss_index.metric(shape.similarity)):
        raise Damaged(f"has other dimensions or another similarity than its {MANIFEST}")


def _read_earlier(reader: FolderReader, index: str, name: str) -> Version:
    """Of format 2: it serves until the next change, when all is read anew."""
    manifest = reader.manifest
    segment = read_segment(reader, f"{index}/{name}")
    shape = IndexShape(
        manifest["dimensions"],
        manifest["similarity"],
        tuple(manifest["filter_paths"]),
        exact_below=0 if segment.has_graph else len(segment),
        element=manifest["element"],
    )
    return Version(shape, [segment] if len(segment) else [], name=name)


def segments_of(index: str, name: str) -> list[str]:
    """Which segments a version names; none where it is no version, or none yet."""
    files, root = fsspec.core.url_to_fs(f"{index}/{name}")
    try:
        manifest = json.loads(files.cat_file(f"{root}/{MANIFEST}"))
    except (FileNotFoundError, ValueError):
        return []
    return [segment["name"] for segment in manifest.get("segments", [])]
