"""The versions of one local index where they lie: opened, written, removed."""

import functools
from collections.abc import Sequence

from resources.batch_store.files import version_name
from resources.batch_store.store import BatchStore
from resources.search_index.filters.columns import Mask
from resources.search_index.local.saved_segment import save_segment
from resources.search_index.local.saved_version import (
    glance,
    open_version,
    save_version,
    segment_folder,
    segments_of,
)
from resources.search_index.local.segment import Segment
from resources.search_index.local.shape import IndexShape
from resources.search_index.local.version import Version

Part = tuple[str, int, Mask | None]
"""A saved segment of a version: its name, its rows, and which of them are deleted."""


class Versions:
    """Nobody searches a version before the registry names it.

    Args:
        batches: Whose index folders they are in.
        pipeline: Whose index it is.
        index: Its name.

    Attributes:
        folder: Of all versions, a path or URL.
    """

    def __init__(self, batches: BatchStore, pipeline: str, index: str) -> None:
        self._batches, self._pipeline, self._index = batches, pipeline, index
        self.folder = batches.index_folder(pipeline, index)

    def open(self, name: str) -> Version:
        """Raises SearchIndexError where it is not there, or not all of it."""
        return _open(self.folder, name)

    def glance(self, name: str) -> int:
        """How many vectors a version says that it holds, if its files are there and not cut off.

        Raises:
            SearchIndexError: They are not.
        """
        return glance(self.folder, name)

    def save(self, segment: Segment, shape: IndexShape) -> str:
        """Write a segment; returns its name."""
        name = version_name()
        save_segment(segment, shape, segment_folder(self.folder, name))
        return name

    def make(self, shape: IndexShape, parts: Sequence[Part]) -> Version:
        """Write a version of saved segments; returned as it lies there, all its files looked at."""
        name = version_name()
        named = [(segment, rows) for segment, rows, _ in parts]
        save_version(self.folder, name, shape, named, [deleted for _, _, deleted in parts])
        return self.open(name)

    def remove(self) -> None:
        """Remove all of them; they may be gone already."""
        self._batches.remove_index(self._pipeline, self._index)

    def prune(self, keep: Sequence[str]) -> None:
        """Remove old versions, except those named, and old segments that none needs any more."""
        self._batches.prune_index(
            self._pipeline,
            self._index,
            keep,
            segments_of=functools.partial(segments_of, self.folder),
        )


@functools.lru_cache(maxsize=2)
def _open(folder: str, name: str) -> Version:
    """A version never changes, so a process reads it once."""
    return open_version(folder, name)


def forget() -> None:
    """Read again what is opened next, as another process would."""
    _open.cache_clear()
