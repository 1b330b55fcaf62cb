"""What differs between a version of a local index and the store, found without reading vectors."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import bson
import numpy as np
from bson.codec_options import CodecOptions

from resources.search_index.filters.columns import Mask
from resources.search_index.local.signatures import (
    Lookup,
    Signatures,
    documents,
    signatures,
    unknown,
)
from resources.search_index.local.version import Version


@dataclass(frozen=True)
class Changes:
    """What has to be done to a version.

    Attributes:
        ids: Of the documents whose vectors have to be read: new, or not what a row was made of.
        signatures: (ids, 2) of them.
        deleted: By segment (rows,), all rows that shall not be found any more.
        kept: Documents whose rows are up to date.
        gone: Rows that are to be deleted now.
    """

    ids: list[Any]
    signatures: Signatures
    deleted: list[Mask]
    kept: int
    gone: int

    @property
    def nothing(self) -> bool:
        return not self.ids and not self.gone


def compare(
    marks: Iterable[bytes],
    version: Version | None,
    codec: CodecOptions,
    step: Callable[[], None] = lambda: None,
) -> Changes:
    """Compare the store with a version.

    Args:
        marks: As `VectorStore.marks` gives them.
        version: None where there is none.
        codec: To decode ids by.
        step: Called after each batch.
    """
    rows = _Rows(version)
    ids: list[Any] = []
    found = [unknown(0)]
    for batch in marks:
        parts = list(documents(batch))
        made_of = signatures(parts)
        new = np.flatnonzero(~rows.keep(made_of))
        ids += [bson.decode(parts[at], codec)["_id"] for at in new.tolist()]
        found.append(made_of[new])
        step()
    return Changes(ids, np.concatenate(found), rows.deleted(), rows.kept, rows.gone)


class _Rows:
    """The rows of a version, and which of them the store still has."""

    def __init__(self, version: Version | None) -> None:
        # Of one whose documents are all gone the rows are still there.
        segments = [] if version is None else version.segments
        self._sizes = [len(segment) for segment in segments]
        self._alive = np.ones(sum(self._sizes), np.bool_)
        if version is not None and segments:
            masks = [
                np.ones(size, np.bool_) if mask is None else mask
                for mask, size in zip(version.alive, self._sizes, strict=True)
            ]
            self._alive = np.concatenate(masks)
        self._numbers = np.flatnonzero(self._alive)
        known = np.concatenate([unknown(0), *(segment.signatures for segment in segments)])
        self._lookup = Lookup(known[self._numbers])
        self._seen = np.zeros(len(self._alive), np.bool_)

    def keep(self, wanted: Signatures) -> Mask:
        """(wanted,) which of them a row was made of; those rows are up to date."""
        found = self._lookup.rows(wanted)
        known = found >= 0
        self._seen[self._numbers[found[known]]] = True
        return known

    @property
    def kept(self) -> int:
        return int(np.count_nonzero(self._seen))

    @property
    def gone(self) -> int:
        return len(self._numbers) - self.kept

    def deleted(self) -> list[Mask]:
        bounds = np.cumsum(self._sizes)[:-1]
        return np.split(~self._seen, bounds) if self._sizes else []
