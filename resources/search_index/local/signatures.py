"""Short signatures of what the rows of a local index were made of, and the search for one.

A signature is of everything that `VectorStore.marks` gives of a document, its id included: a row
whose signature is among those of the store is up to date, and any other is not.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resources.core.keys import key

Signatures = NDArray[np.uint64]
"""(n, 2): 128 bits of each."""

_SIZE = 16
_length = struct.Struct("<i").unpack_from


def documents(batch: bytes) -> Iterator[bytes]:
    """The documents of a batch of BSON, one after the other."""
    at, end = 0, len(batch)
    while at < end:
        length = _length(batch, at)[0]
        yield batch[at : at + length]
        at += length


def signatures(parts: Iterable[bytes]) -> Signatures:
    digest = hashlib.blake2b
    return _array(b"".join([digest(part, digest_size=_SIZE).digest() for part in parts]))


def of_ids(ids: Iterable[Any]) -> Signatures:
    """Of ids alone: equal where MongoDB takes two for one."""
    return signatures(key(each).encode("utf-8", "surrogatepass") for each in ids)


def unknown(count: int) -> Signatures:
    """Of rows of which nobody knows what they were made of: they equal nothing in the store."""
    return np.zeros((count, 2), np.uint64)


def _array(digests: bytes) -> Signatures:
    return np.frombuffer(digests, "<u8").astype(np.uint64, copy=False).reshape(-1, 2)


class Lookup:
    """Finds signatures among those of rows."""

    def __init__(self, known: Signatures) -> None:
        self._order = np.argsort(known[:, 0], kind="stable")
        self._known = known[self._order]

    def rows(self, wanted: Signatures) -> NDArray[np.int64]:
        """(wanted,) the row that has the signature; -1 where none has."""
        if not len(self._known):
            return np.full(len(wanted), -1, np.int64)
        at = np.searchsorted(self._known[:, 0], wanted[:, 0])
        at[at == len(self._known)] = 0
        # Of two that begin alike the second is not found: its row is read once more, and right.
        found = (self._known[at] == wanted).all(axis=1)
        return np.where(found, self._order[at], -1)
