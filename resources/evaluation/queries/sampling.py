"""So many of a stream, the same ones in whatever order it comes: those of the smallest hashes."""

import hashlib
import heapq
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Sample(Generic[T]):
    """Holds no more than its size.

    Args:
        size: So many at most.
        seed: Another seed, another choice.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._seed = size, seed
        self._found: dict[int, T] = {}
        self._largest: list[int] = []

    def place(self, name: str) -> int | None:
        """Where something of this name would stand; None where it is not among the smallest."""
        digest = hashlib.sha256(f"{self._seed}\0{name}".encode()).digest()
        place = int.from_bytes(digest[:16], "big")
        if place in self._found or len(self._found) < self._size or place < -self._largest[0]:
            return place
        return None

    def get(self, place: int) -> T | None:
        return self._found.get(place)

    def put(self, place: int, value: T) -> None:
        if place not in self._found:
            heapq.heappush(self._largest, -place)
        self._found[place] = value
        if len(self._found) > self._size:
            # What was once too large stays so: the smallest only get smaller.
            del self._found[-heapq.heappop(self._largest)]

    def __iter__(self) -> Iterator[T]:
        return (self._found[place] for place in sorted(self._found))
